"""What commands of the tests share beside modules: loaded before those are forked."""

import gc

from sentineld.config import Config

# The built-in formats, parsed.
Config().formats()
# A forked command that looks for garbage would copy every page of what it shares.
gc.collect()
gc.freeze()
