"""Stamps: what a file system says of a file, by which a key that was computed before is known to be right still.

Of a local file that is its size, modification time, inode and change time. The last two tell files apart that were
swapped by renaming, or written over with their old time restored. They mean something only where the file system keeps
them itself: elsewhere (FUSE, shares of Windows, FAT, whatever is not in the table) numbers may be dealt out anew at
each mount, or the change time be a copy of the modification time. Files there get no stamp, and are read again.
"""

from __future__ import annotations

import logging
import os
import struct

_log = logging.getLogger(__name__)
UNKNOWN = b""  # the stamp of a file of which nothing said is believed
_FIELDS = struct.Struct("<qqqQ")  # size, modification time, change time (both ns), inode
_INODE = (1 << 64) - 1  # ReFS has longer ones
# What keeps an inode for a file's life, and a change time that no program can set. NFS and the file systems of clusters
# pass on those of their servers.
_LOCAL = "ext2 ext3 ext4 xfs btrfs zfs f2fs jfs reiserfs nilfs2 bcachefs ubifs overlay ntfs ntfs3 refs apfs hfs ufs"
_IN_MEMORY = "tmpfs ramfs"
_SHARED = "nfs nfs4 lustre gpfs beegfs ceph"
_KEPT = frozenset(f"{_LOCAL} {_IN_MEMORY} {_SHARED}".split())
# A file that changes within the clock's grain of being read could keep its times: like git, believe no time that
# was younger than this when the file was looked at. The change time has the grain of the kernel's tick.
_SETTLED_NS, _TICK_NS = 2_000_000_000, 50_000_000
_said: set[str] = set()


class Stamper:
    """Makes the stamps of local files; knows which file systems they are on."""

    def __init__(self) -> None:
        self._kept: dict[int, bool] = {}

    def stamp(self, path: str, status: os.stat_result) -> bytes:
        """The stamp of a file from its ``os.stat``; :data:`UNKNOWN` where its file system keeps none."""
        kept = self._kept.get(status.st_dev)
        if kept is None:
            kept = self._kept[status.st_dev] = _keeps(path)
        if not kept:
            return UNKNOWN
        return _FIELDS.pack(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & _INODE)


def of_object(size: int, version: int) -> bytes:
    """The stamp of what a URL names: its size, and a number, below any time of now, that stands for its content."""
    return _FIELDS.pack(size, version, 0, 0)


def settled(stamp: bytes, looked: int) -> bool:
    """Whether a file with this stamp, looked at at this time (ns), cannot change without its stamp changing."""
    if stamp == UNKNOWN:
        return False
    _, modified, changed, _ = _FIELDS.unpack(stamp)
    return bool(modified < looked - _SETTLED_NS and changed < looked - _TICK_NS)


def _keeps(path: str) -> bool:
    """Whether the file system below a path keeps what stamps are made of; where it does not, this is said once."""
    mount, kind = file_system(path)
    if kind.lower() in _KEPT:
        return True
    if mount not in _said:
        _said.add(mount)
        _log.warning(
            "%s (%s): this file system keeps no inode and change time to know files by; each is read again, in every "
            "command, to see whether it changed",
            mount,
            kind or "of unknown kind",
        )
    return False


def file_system(path: str) -> tuple[str, str]:
    """Where a path's file system is mounted, and its kind in the system's own word; empty where that is not told."""
    import psutil

    real = os.path.realpath(path)
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, psutil.Error):
        return os.path.dirname(real), ""
    nearest = (os.path.dirname(real), "")
    longest = -1
    for mount in mounts:  # of two at one place, the later hides the earlier
        place = mount.mountpoint
        if len(place) >= longest and (real == place or real.startswith(os.path.join(place, ""))):
            nearest, longest = (place, mount.fstype), len(place)
    return nearest
