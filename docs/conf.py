"""The site: Sphinx and MyST, without the network; ``make docs``."""

import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

project = "mmppl"
author = "The mmppl authors"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "autodoc_events",
    "mathml",
    "no_breaks",
    "public_names",
]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build", "_ext", "llms.txt"]
html_theme = "furo"
html_title = "mmppl"
html_extra_path = ["llms.txt"]
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["mmppl.css"]
html_math_renderer = "mathml"

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"exclude-members": "__new__"}
python_display_short_literal_types = True
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Warns", "params_style")]
# Cells of notebooks are Python; outputs are as they were kept.
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]

# Notebooks stand beside docs/, where people look for them; pages must lie inside.
shutil.copytree(DOCS.parent / "notebooks", DOCS / "notebooks", dirs_exist_ok=True)
