"""MosaicML Streaming: a Python file with one Stream for each task, weighted by proportion."""

from __future__ import annotations

from pathlib import Path

from taskpgm.exporters.exporter import Exporter, File, python_literal
from taskpgm.exporters.plan import Plan

CODE = '''

def streams():
    """For StreamingDataset(streams=streams(), epoch_size=EPOCH_SIZE, shuffle=True, batch_size=...)."""
    from streaming import Stream

    return [Stream(**arguments) for arguments in STREAMS.values()]
'''


class MosaicMl(Exporter):
    name = "mosaicml"
    title = "MosaicML Streaming"
    packable = True
    meaning = "proportion of the task's samples in an epoch of EPOCH_SIZE samples."
    use = "StreamingDataset(streams=streams(), epoch_size=EPOCH_SIZE, shuffle=True, ...)"
    traps = (
        "without epoch_size an epoch has as many samples as all the data together.",
        "proportion, repeat and choose cannot be mixed: all streams have a proportion.",
        "without shuffle=True samples come task by task.",
        "data that was tokenised and cut to one length beforehand counts tokens: export with --packed.",
    )
    ending = ".py"
    reads = "a folder in MDS format, as streaming.MDSWriter makes it"
    data_ending = ""
    prepared = True

    def adapted(self, plan: Plan) -> Plan:
        return plan

    def files(self, plan: Plan, out: Path) -> tuple[File, ...]:
        entries = [
            f'{task.name!r}: {{"local": {task.place.text!r}, "proportion": {task.weight!r}}}' for task in plan.tasks
        ]
        size = plan.budget if plan.unit == "examples" else None  # an epoch is counted in samples, whatever is in them
        text = f"{self.header(plan)}EPOCH_SIZE = {size!r}\n{python_literal('STREAMS', entries, '{}')}{CODE}"
        return (File(out, text),)
