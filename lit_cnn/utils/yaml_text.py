"""YAML text that reads back as what was written: any text, and numbers such as 1e-3."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

# YAML 1.2's floats, as the parser of settings reads them: 1e-3 is one, which YAML 1.1 takes for a text.
_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |\.[0-9_]+(?:[eE][-+][0-9]+)?
    |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_FLOAT_TAG, _DATE_TAG = "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"


class DuplicateKeyError(yaml.YAMLError):
    """A mapping has a key twice, of which YAML keeps the last one."""


# Not libyaml's, which refuses the escapes of characters that no file name can be without.
class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise DuplicateKeyError(
                        f"{key.value} is there twice, in lines {lines[key.value]} and {line}: keep one"
                    )
                lines[key.value] = line
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that one of the loaders would take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a list or dictionary out wherever it stands."""
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Escape the line breaks that other quotes would turn into spaces."""
        style = '"' if re.search("[\x85\u2028\u2029]", text) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag not in (_FLOAT_TAG, _DATE_TAG)]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+0123456789."))
_Dumper.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+0123456789."))


def load(text: str) -> Any:
    """What the text says, as plain types.

    Raises:
        yaml.YAMLError: it is not YAML, or has a key twice.
    """
    return yaml.load(text, _Loader)  # a safe loader


def dump(content: Any) -> str:
    """Text for plain types. Reading it gives the same types and values, lone surrogates of file names included."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
