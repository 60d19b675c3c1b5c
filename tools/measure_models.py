"""Measure this package's models: ``python -m tools.measure_models`` writes ``model_figures/lit_cnn.csv``.

To be run when a model is added or changed; it takes about 20 s and always gives the same file for the same models.
"""

from __future__ import annotations

from lit_cnn.inspection import model_table
from lit_cnn.inspection.measure import measure
from lit_cnn.models import MODELS
from tools.figure_files import write_table
from tools.pretrained import pretrained

SCRIPT = "tools/measure_models.py"

if __name__ == "__main__":
    write_table(model_table.OWN, "", {name: measure(name)._replace(**pretrained(name)) for name in MODELS}, SCRIPT)
