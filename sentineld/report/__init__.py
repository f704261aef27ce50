"""The report: one HTML file that needs nothing else. ``account`` is what it tells, ``page`` how it looks."""
