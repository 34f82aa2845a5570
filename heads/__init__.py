"""Stage two: what is trained on the features that :mod:`featcache` keeps. Names load on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.system.lazy_names import attach

if TYPE_CHECKING:
    from .auditing.audit import audit as audit
    from .bundles.bundle import open_bundle as open_bundle
    from .bundles.doctor import bundle_doctor as bundle_doctor
    from .experiments.baselines import baselines as baselines
    from .experiments.head_fit import fit_head as fit_head
    from .experiments.hyperparameter_search import grid as grid
    from .experiments.label_errors import label_errors as label_errors
    from .experiments.learning_curve import learning_curve as learning_curve
    from .experiments.locking import lock_test as lock_test
    from .experiments.reproduction import reproduce as reproduce
    from .experiments.scout import scout as scout
    from .exporting.bundle_export import export_bundle as export_bundle
    from .inference.bundle_evaluation import evaluate_bundle as evaluate_bundle
    from .inference.comparison import compare as compare
    from .inference.embedding import tsne as tsne
    from .inference.prediction import predict as predict
    from .inference.saliency_maps import saliency as saliency
    from .inference.similar import similar as similar
    from .reporting.html_report import report as report
    from .reporting.worklist import worklist as worklist
    from .search.halving_search_cv import FastHalvingGridSearchCV as FastHalvingGridSearchCV
    from .search.search_cv import FastGridSearchCV as FastGridSearchCV
    from .search.search_cv import FastRandomizedSearchCV as FastRandomizedSearchCV
    from .studies.study import study as study
    from .training.architectures import own_cnn as own_cnn
    from .training.cnn_classifier import OwnCNNClassifier as OwnCNNClassifier
    from .training.dense_head_classifier import DenseHeadClassifier as DenseHeadClassifier
    from .training.dense_head_multilabel_classifier import (
        DenseHeadMultilabelClassifier as DenseHeadMultilabelClassifier,
    )
    from .training.dense_head_regressor import DenseHeadRegressor as DenseHeadRegressor
    from .training.label_wise import LabelWiseClassifier as LabelWiseClassifier

_HOMES = {
    "DenseHeadClassifier": "training.dense_head_classifier",
    "DenseHeadMultilabelClassifier": "training.dense_head_multilabel_classifier",
    "DenseHeadRegressor": "training.dense_head_regressor",
    "OwnCNNClassifier": "training.cnn_classifier",
    "own_cnn": "training.architectures",
    "LabelWiseClassifier": "training.label_wise",
    "FastGridSearchCV": "search.search_cv",
    "FastRandomizedSearchCV": "search.search_cv",
    "FastHalvingGridSearchCV": "search.halving_search_cv",
    "audit": "auditing.audit",
    "baselines": "experiments.baselines",
    "fit_head": "experiments.head_fit",
    "grid": "experiments.hyperparameter_search",
    "open_bundle": "bundles.bundle",
    "bundle_doctor": "bundles.doctor",
    "predict": "inference.prediction",
    "label_errors": "experiments.label_errors",
    "reproduce": "experiments.reproduction",
    "export_bundle": "exporting.bundle_export",
    "learning_curve": "experiments.learning_curve",
    "scout": "experiments.scout",
    "lock_test": "experiments.locking",
    "evaluate_bundle": "inference.bundle_evaluation",
    "compare": "inference.comparison",
    "saliency": "inference.saliency_maps",
    "similar": "inference.similar",
    "tsne": "inference.embedding",
    "report": "reporting.html_report",
    "worklist": "reporting.worklist",
    "study": "studies.study",
}
__getattr__, __dir__, __all__ = attach(__name__, _HOMES)
