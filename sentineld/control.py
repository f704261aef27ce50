"""Control: records that any working sentineld can judge, to tell a fault of its own from hostile input.

Where nothing that is read can be judged, either sentineld is broken or whoever writes knows how to make it
raise. These records nobody else has written: if they cannot be judged either, it is broken.
"""

import os
from dataclasses import replace

from sentineld.batch import Part
from sentineld.decode import decode_lines
from sentineld.framing import LINES
from sentineld.identity import Source
from sentineld.instant import SECOND_US
from sentineld.intake import Batch, fill, learned
from sentineld.native import NATIVE
from sentineld.pipeline import Pipeline
from sentineld.recognition import Formats
from sentineld.step import Prior
from sentineld.store import Store
from sentineld.trust import Trust

#: What an agent does in the sample, each a second after the last.
_DEEDS = (
    '"type":"model_call","data":{"session":"control","model":"a"}',
    '"type":"tool_call","data":{"session":"control","tool":"Read","args":{"path":"/srv/app/main.py"}}',
    '"type":"tool_call","data":{"session":"control","tool":"Bash","args":{"command":"make test | tail"}}',
    '"type":"file_write","data":{"session":"control","path":"/srv/app/main.py","text":"a line of text"}',
    '"type":"network_request","data":{"session":"control","url":"https://example.com/a?b=c"}',
    '"type":"error","data":{"session":"control","error":"not found"}',
)
#: How often it does all of it: the last time much later, so that a session ends.
_ROUNDS_S = (0, 60, 7200)


def judge_control(prior: Prior, formats: Formats, at_us: int) -> None:
    """Judge the sample by these thresholds and formats, in a database of its own, as of ``at_us``.

    Raises whatever is raised over it.
    """
    records = []
    for begin_s in _ROUNDS_S:
        for number, deed in enumerate(_DEEDS):
            second = at_us // SECOND_US - max(_ROUNDS_S) - len(_DEEDS) + begin_s + number
            records.append(f'{{"source":"control","timestamp":{second},{deed}}}\n')
    store = Store.open(":memory:", at_us, is_durable=False)
    try:
        pipeline = Pipeline(store, prior, agents_per_owner=1)
        source = Source(store.next_source_id(), "control", "control", LINES, 0, 0, 0, os.geteuid(), 0)
        for line in map(str.encode, records):
            end = source.pos + len(line)
            part = Part(source.id, source.owner, source.pos, end, 0, at_us, at_us, False)
            fill(part, decode_lines(line, source.pos), formats.force(NATIVE), Trust(), source)
            batch = Batch([part])
            batch.put(source, replace(learned(source, part), pos=end))
            pipeline.read(batch, at_us)
            source = batch.latest(source)
        pipeline.tick(at_us)
        if pipeline.roster.by_name("control") is None:
            raise RuntimeError("the control sample was judged as nobody's")
    finally:
        store.close()
