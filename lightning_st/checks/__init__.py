"""What is wrong with the data, told before a training is spent on them; nothing here changes anything.

`check_splits` looks at images (``scan``), labels (``box_labels``, ``mask_labels``, ``class_names``) and copies
(``duplicates``), and returns a `Report` of `Finding`.
"""

from lightning_st.checks.check import Report, Settings, check_splits
from lightning_st.checks.findings import Finding
from lightning_st.checks.opening import open_splits

__all__ = ["Finding", "Report", "Settings", "check_splits", "open_splits"]
