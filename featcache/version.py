"""The version, for records and for workers that must be of the same one."""

VERSION = "0.1.0"
