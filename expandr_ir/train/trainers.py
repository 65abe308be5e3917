"""TRL's trainers over rows that this package has tokenized."""

from __future__ import annotations

from typing import Any

from trl import DPOTrainer, SFTTrainer

__all__ = ["PreparedDPOTrainer", "SFTTrainer"]


class PreparedDPOTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's DPOTrainer on rows of prompt_ids, chosen_ids and rejected_ids.

    TRL 1.16 tokenizes in `_prepare_dataset` and knows no longest prompt; for SFT it has an option not to
    (dataset_kwargs: skip_prepare_dataset), for DPO none.
    """

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """The dataset as it is.

        Raises:
            TypeError: it is not tokenized.
        """
        if not {"prompt_ids", "chosen_ids", "rejected_ids"} <= set(dataset.column_names):
            raise TypeError(f"columns {dataset.column_names}, not prompt_ids, chosen_ids and rejected_ids")
        return dataset
