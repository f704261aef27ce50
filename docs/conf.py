"""How the documentation is built: ``python3 dev.py docs``. No page of it loads anything from elsewhere."""

from sentineld.version import __version__

project = "sentineld"
author = project_copyright = "The sentineld authors"
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"sentineld {__version__}"
html_copy_source = False
html_show_sphinx = False
