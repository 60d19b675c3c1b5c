from tests.models.helpers import registry  # noqa: F401
