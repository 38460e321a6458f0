"""Compare what sources hold with what a dataset is known to have, so that an incomplete copy is found before it is published.

`known` holds the facts about public datasets, `expected` reads a user's own, and `compare` names what differs.
"""

from anon_batch.manifest.expect.compare import check_expected
from anon_batch.manifest.expect.expected import Expectation, read_expectation

__all__ = ["Expectation", "check_expected", "read_expectation"]
