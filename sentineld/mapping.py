"""Mapping: from records in any format to rows, as a TOML file declares."""

FORMATS = ("wordpress",)
