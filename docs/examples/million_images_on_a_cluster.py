# %% [markdown]
# # A million images on a cluster
#
# What changes between 400 images and a million is not the code. This script keeps features of the averaged kind, in
# half precision, has them computed by the workers of a Dask cluster, trains a head from the store without loading them
# all, and searches on the same workers. Here the cluster is two processes of this machine (`local:2`), and the images
# are a few hundred **synthetic** ones, drawn by code: nothing medical can be learnt from them.
#
# It needs the extra `dask` (`pip install 'featcache[dask]'`). Run it with `python million_images_on_a_cluster.py`, or
# open it as a notebook; it writes into `./cache`, `./sample` and `./many`. Cells that use workers stand under
# `if __name__ == "__main__"`: Dask's processes of this machine read this file too, and must not begin it anew.

# %%
from pathlib import Path

MANIFEST = Path(
    "many.csv"
)  # yours: path,label[,split][,group]; paths may be URLs (s3://…, https://…), Parquet is quicker
SCHEDULER = "local:2"  # yours: "tcp://10.0.0.1:8786", where a Dask scheduler listens
NETWORK = {"backbone": "mobilenet", "weights": "random", "size": 64}  # yours: {"backbone": "vgg16"}

# %% [markdown]
# ## The images
#
# A manifest is a table of paths and labels; a million lines are read in seconds. On a cluster the images must be where
# it says on every worker: a shared file system, or URLs.

# %%
import numpy as np
from PIL import Image

import featcache

if __name__ == "__main__" and not MANIFEST.exists():
    featcache.extract(backbone="pixels", size=32, cache="sample")  # draws the sample's pictures
    drawn = featcache.load("pixels", task="binary", cache="sample")
    rng = np.random.default_rng(0)
    Path("many").mkdir(exist_ok=True)
    lines = ["path,label,split,group"]
    for patient, (path, label, split) in enumerate(zip(drawn.paths, drawn.y, drawn.splits, strict=True)):
        lungs = np.asarray(Image.open(path).convert("L").resize((128, 128)), float)
        for number in range(6):
            grey = lungs * rng.uniform(0.9, 1.1) + rng.normal(0, 6, lungs.shape)
            name = f"many/{patient:03d}-{number}.png"
            Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(name)
            lines.append(f"{name},{drawn.classes[label]},{split},patient-{patient}")
    MANIFEST.write_text("\n".join(lines) + "\n")

# %% [markdown]
# ## Once: on the cluster
#
# The plan is cut into chunks; each worker loads the network once and takes chunks until there are none. What a worker
# has committed stays, whoever is killed. `keep="avg"` keeps the averaged map alone, some 50 times smaller than the map,
# and `dtype="float16"` halves that. Workers that do not see the cache folder send their shards: `send_back=True`.

# %%
WANTED = {**NETWORK, "keep": "avg", "dtype": "float16", "scheduler": SCHEDULER, "skip_bad": True}

if __name__ == "__main__":
    result = featcache.extract(MANIFEST, **WANTED)
    print(f"{result.images} images: {result.computed} computed on {SCHEDULER}, {len(result.bad)} bad")

# %% [markdown]
# After a kill, or when images have come, the same call computes what is missing. Nothing is missing now, so no worker
# is asked to do anything.

# %%
if __name__ == "__main__":
    again = featcache.extract(MANIFEST, **WANTED)
    print(f"once more: {again.computed} computed, {again.reused} were there")

# %% [markdown]
# ## What a million of them would take
#
# Worked out from this run; your network, size and machines have their own pace. A row is its numbers, and 48 bytes of
# key and checksum.

# %%
if __name__ == "__main__":
    hours = 1e6 / result.images_per_second / 3600
    row = result.shape[-1] * np.dtype("float16").itemsize + 48
    print(f"a row has {result.shape[-1]} numbers: {row * 1e6 / 1e9:.1f} GB for a million images")
    print(
        f"at the pace of this small run, {result.images_per_second:.0f} images a second, they take {hours:.1f} hours;"
    )
    print(f"four times the workers, where each has a core of its own: some {hours / 4:.1f} hours")

# %% [markdown]
# ## A head, trained from the store
#
# With `stream=True` the rows stay on disk, as they do by themselves where they would take more than a quarter of the
# free memory, and a head reads them batch by batch, in the same random order and to the same weights. How much all may
# hold at its peak is said with `featcache.memory_limit`.

# %%
from scipy.stats import binomtest

from heads import DenseHeadClassifier

if __name__ == "__main__":
    f = featcache.load(NETWORK["backbone"], task="binary", pooling="avg", data=MANIFEST, stream=True)
    train, test = f.split("train"), f.split("test")
    print(f"{type(f.X).__name__} of {f.X.shape[0]} x {f.X.shape[1]}, {len(set(f.groups))} patients")
    head = DenseHeadClassifier(64, dropout=0.25, learning_rate=1e-3, epochs=30, batch_size=32, random_state=0)
    head.fit(train.X, train.y)
    probability = head.predict_proba(test.X)
    # Six pictures of a patient are no six patients: each patient is judged once, by the mean of his pictures.
    patients = sorted(set(test.groups))
    rows = [np.flatnonzero(test.groups == patient) for patient in patients]
    right = sum(int(probability[of].mean(axis=0).argmax() == test.y[of[0]]) for of in rows)
    low, high = binomtest(right, len(rows)).proportion_ci()
    print(f"of {len(rows)} new patients {right} are told rightly: {right / len(rows):.2f} ({low:.2f} to {high:.2f})")

# %% [markdown]
# With a network that never saw an image, and so few patients, that is what it is; the way is the same for your own.
#
# ## A search on the same workers
#
# Inside `joblib.parallel_config("dask")` the cells of a search run on the cluster; the rows are sent once, and finished
# cells stay in the journal here: a search that was killed goes on from it.

# %%
import joblib
from distributed import Client, LocalCluster
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold

from heads import FastGridSearchCV

if __name__ == "__main__":
    search = FastGridSearchCV(
        RandomForestClassifier(random_state=0),
        {"n_estimators": [50, 100, 200], "max_features": ["sqrt", 0.1]},
        cv=StratifiedGroupKFold(3, shuffle=True, random_state=0),
        journal="forest.journal",
    )
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)  # yours: Client("tcp://…") alone
    with cluster, Client(cluster), joblib.parallel_config("dask"):
        search.fit(np.asarray(train.X, "float32"), train.y, groups=train.groups)
    tried = len(search.cv_results_["params"])
    print(f"best of {tried} forests: {search.best_params_}, {search.best_score_:.2f} over the folds")

# %% [markdown]
# On the command line the same are `featcache extract --data many.csv --scheduler tcp://10.0.0.1:8786 --keep avg` and
# `featcache grid --model random-forest --scheduler tcp://10.0.0.1:8786`; `featcache cache compact` merges the many
# small shards of many workers.
