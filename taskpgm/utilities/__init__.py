"""Task utilities, one file each: what the unary potentials of the network say about a task on its own.

A utility takes Predictions and the similarity matrix, and returns (n,) finite numbers that follow the experts when
these are reordered. To add one: write a file, and put an instance into UTILITIES.
"""

from taskpgm.utilities.heldout_gain import HeldoutGain
from taskpgm.utilities.learnability import Learnability
from taskpgm.utilities.representativeness import Representativeness
from taskpgm.utilities.supplied import Supplied
from taskpgm.utilities.utility import Utility, gain_matrix

UTILITIES: tuple[Utility, ...] = (Learnability(), HeldoutGain(), Representativeness())

__all__ = ["UTILITIES", "HeldoutGain", "Learnability", "Representativeness", "Supplied", "Utility", "gain_matrix"]
