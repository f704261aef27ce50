"""The configuration by which the activity score decides: for tests that are about it."""

from sentineld.config import Config
from sentineld.options import DetectionOptions

BY_ACTIVITY = Config(detection=DetectionOptions(mode="activity"))
