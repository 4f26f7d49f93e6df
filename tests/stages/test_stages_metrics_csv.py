"""metrics.csv: one row a step, and a resumed run continues the file."""

from lightning_st.stages.metrics_csv import MetricsCsv


def write(path, *entries):
    log = MetricsCsv(path)
    for step, metrics in entries:
        log.log_metrics(metrics, step)
        log.save()


def test_rows_merge_by_step_and_columns_grow(tmp_path):
    path = tmp_path / "metrics.csv"
    write(path, (1, {"train/loss": 2.0}), (2, {"train/loss": 1.5}), (2, {"val/AP": 0.25}))
    assert path.read_text().splitlines() == ["step,train/loss,val/AP", "1,2.0,", "2,1.5,0.25"]


def test_a_resumed_log_equals_an_uninterrupted_one(tmp_path):
    entries = [(step, {"train/loss": 1 / step, "epoch": 0}) for step in range(1, 10)]
    write(tmp_path / "whole.csv", *entries)
    write(tmp_path / "cut.csv", *entries[:7])
    write(tmp_path / "cut.csv", *entries[4:])
    assert (tmp_path / "cut.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_nothing_logged_leaves_the_file_alone(tmp_path):
    path = tmp_path / "metrics.csv"
    write(path, (1, {"a": 1.0}))
    before = path.read_text()
    MetricsCsv(path).finalize("success")
    assert path.read_text() == before
