"""Which test images were looked at, how often, and which are locked; see :mod:`heads.vault.notes`."""
