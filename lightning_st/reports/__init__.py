"""Tables, plots, pictures and the HTML page of a run, made from the files that its stages left; needs no torch."""

from lightning_st.reports.compare import compare_runs
from lightning_st.reports.experiment_page import write_experiment_report
from lightning_st.reports.write import write_report

__all__ = ["compare_runs", "write_experiment_report", "write_report"]
