# %% [markdown]
# # Features in a scikit-learn pipeline of your own
#
# A frozen network's features are rows of an array, kept on disk. This script gets them in the two ways there are, and
# does with them what one does with any array: a pipeline of your own, cross-validation that keeps patients whole, a
# search of its hyperparameters, and an honest last look at the test part.
#
# As it stands it needs no images and no internet: it draws a **synthetic** sample (128 pictures of four classes, made
# by code, of which nothing medical can be learnt) and gives the network random weights.
# Run it with `python own_pipeline.py`, or open it as a notebook. All that it writes is in `./cache`.

# %%
DATA = None  # your images: "xrays/" with xrays/<class>/*, or "xrays.csv" with path,label[,split][,group]
BACKBONE = "vgg16"
WEIGHTS = "random"  # for images of yours: "imagenet", or a file of Keras weights
SIZE = 64  # pixels; for images of yours 224, which the network was trained on

# %% [markdown]
# ## Once: run the network
#
# Every image goes through the network once, and its features are kept under all that decides their value (network,
# weights, size, decoding, preprocessing). Run this cell again, or add images: only what is new is computed.

# %%
import featcache

result = featcache.extract(DATA, backbone=BACKBONE, weights=WEIGHTS, size=SIZE)
print(f"{result.images} images: {result.computed} computed, {result.reused} were there; kept as {result.feature_set}")

# %% [markdown]
# ## As an array
#
# `load` reads; it computes nothing, and needs no TensorFlow. `y` are positions in `classes`; `groups` tell which images
# are of one patient (of the synthetic ones, each is its own).

# %%
f = featcache.load(BACKBONE, task="multiclass", pooling="avg")
train, test = f.split("train"), f.split("test")
print(f"{len(f)} rows of {f.X.shape[1]} numbers; classes {', '.join(f.classes)}")
print(f"{len(train)} rows to learn from, {len(test)} to be judged by, {len(set(f.groups))} groups")

# %% [markdown]
# ## A pipeline of your own
#
# Nothing here is special to featcache: any estimator takes these rows. Folds keep groups whole, since a patient on both
# sides of a split is not a new patient.

# %%
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pipeline = make_pipeline(StandardScaler(), PCA(20, random_state=0), LogisticRegression(max_iter=2000))
folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
scores = cross_val_score(pipeline, train.X, train.y, groups=train.groups, cv=folds)
print(f"accuracy over five folds: {scores.mean():.2f}, from {scores.min():.2f} to {scores.max():.2f}; ", end="")
print(f"guessing gives {1 / len(f.classes):.2f}")

# %% [markdown]
# ## A search, sooner
#
# `FastGridSearchCV` is a `GridSearchCV` with the same answer. Here it fits the scaler and the components once a fold,
# not once a candidate; for heads and for kernel models it has more to save.

# %%
from heads import FastGridSearchCV

grid = {"pca__n_components": [10, 20, 40], "logisticregression__C": [0.001, 0.01, 0.1, 1]}
search = FastGridSearchCV(pipeline, grid, cv=folds)
search.fit(train.X, train.y, groups=train.groups)
print(f"best of {len(search.cv_results_['params'])}: {search.best_params_}, {search.best_score_:.2f} over the folds")

# %% [markdown]
# The best of a search is a little too good: it was chosen for its score. The test part had no say in it.

# %%
from pathlib import Path

from scipy.stats import binomtest

predicted = search.predict(test.X)
right = int((predicted == test.y).sum())
low, high = binomtest(right, len(test)).proportion_ci()
print(f"test: {right} of {len(test)} right, {right / len(test):.2f} (95% interval {low:.2f} to {high:.2f})")

table = test.to_frame()[["path", "label"]].assign(predicted=[test.classes[i] for i in predicted])
table["path"] = [Path(path).name for path in table["path"]]
wrong = table[table["label"] != table["predicted"]]
print(f"the first of the {len(wrong)} that are wrong:\n{wrong.head(4).to_string(index=False)}")

# %% [markdown]
# ## Or with the network as the pipeline's first step
#
# `FrozenBackbone` turns paths into features, so that the whole way from file to label is one estimator. It asks the
# same kept features: nothing is computed again, whichever fold or candidate asks.

# %%
from featcache import FrozenBackbone

network = FrozenBackbone(BACKBONE, size=SIZE, weights=WEIGHTS, pooling="avg")
whole = make_pipeline(network, StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
whole.fit(train.paths, train.y)
print(f"{whole.score(test.paths, test.y):.2f} of the test images right, from paths to labels")
print(f"the first test image is taken for {f.classes[whole.predict(test.paths[:1])[0]]}, and is {f.classes[test.y[0]]}")
