# SPDX-License-Identifier: Apache-2.0
"""Which worker of pytest gets which test: the longest first (`pytest.mark.long`), one by one. Tests of a file that starts
something for all of them (a fixture of scope "module") stay together: the whole file has the mark, and says what it takes."""
import pathlib

from xdist.scheduler import LoadScopeScheduling

HERE = pathlib.Path(__file__).parent


def seconds(item):
    mark = item.get_closest_marker("long")
    return mark.args[0] if mark else 0


def stays_together(file):
    return 'scope="module"' in (HERE / pathlib.PurePath(file).name).read_text()


class Dealer(LoadScopeScheduling):
    def __init__(self, config, log):
        super().__init__(config, log)
        config.option.loadscopereorder = False  # their order is conftest.py's

    def _split_scope(self, nodeid):
        file = nodeid.split("::")[0]
        return file if stays_together(file) else nodeid
