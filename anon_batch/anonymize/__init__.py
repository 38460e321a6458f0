"""Methods that make faces unrecognisable, and the ladder that tries them in turn.

`registry` names the methods, `ladder.build_ladder` makes those of a job file, `painting` is what they share.
No module here imports a heavy library before a method that needs it is loaded.
"""

from anon_batch.anonymize.ladder import Ladder, build_ladder
from anon_batch.anonymize.protocol import RegionAnonymizer

__all__ = ["Ladder", "RegionAnonymizer", "build_ladder"]
