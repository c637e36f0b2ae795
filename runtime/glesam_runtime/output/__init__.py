"""The one writer of files and folders, which appear whole or not at all.

Each is written beside its place under a random name that did not exist, flushed to the disk, and renamed.
A process that is killed leaves the old content, and its temporary files to be removed by the next run.
"""

from .files import replaced_file, write_files
from .folders import (
    BUNDLE,
    FolderKind,
    check_replaceable,
    exchange,
    replaced_folder,
    scratch_folder,
    size_mib,
)

__all__ = [
    "BUNDLE",
    "FolderKind",
    "check_replaceable",
    "exchange",
    "replaced_file",
    "replaced_folder",
    "scratch_folder",
    "size_mib",
    "write_files",
]
