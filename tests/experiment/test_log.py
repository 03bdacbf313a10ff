from gnnkit.experiment.log import JsonLog, read_log


def test_lines_are_there_at_once_and_can_be_cut_back(tmp_path):
    path = tmp_path / "run" / "log.jsonl"
    log = JsonLog(path)
    log.write("step", loss=0.5)
    assert read_log(path) == [{"event": "step", "loss": 0.5}]
    length = log.sync()
    log.write("step", loss=0.25)
    log.close()
    path.write_bytes(path.read_bytes() + b'{"event": "st')
    assert len(read_log(path)) == 2

    resumed = JsonLog(path, length=length)
    resumed.write("step", loss=0.75)
    resumed.close()
    assert [line["loss"] for line in read_log(path)] == [0.5, 0.75]

    JsonLog(path).close()
    assert read_log(path) == []


def test_a_log_shorter_than_the_checkpoint_says_is_not_filled_up(tmp_path):
    log = JsonLog(tmp_path / "log.jsonl", length=1000)
    log.write("step", loss=1.0)
    log.close()
    assert read_log(tmp_path / "log.jsonl") == [{"event": "step", "loss": 1.0}]
