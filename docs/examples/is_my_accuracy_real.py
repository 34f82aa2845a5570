# %% [markdown]
# # Is my accuracy real?
#
# A network tells two classes apart on images that it never saw, every time. This script asks what a reviewer would ask:
# did it look at the disease? It takes three steps that need no expert, in the order in which they are cheapest:
# an **audit** of the images, folds that keep **patients** whole, and **another hospital's** images.
#
# As it stands it runs on **synthetic** pictures, made below so that the answer is known: nothing here is a medical
# result. For images of yours, say where they are in the next cell, and leave out the one after it.
# Run it with `python is_my_accuracy_real.py`, or open it as a notebook. It writes into `./cache`, `./runs`, `./here`
# and `./elsewhere`.

# %%
from pathlib import Path

HERE = Path("here")  # yours: "xrays/" with xrays/<class>/*, or a manifest "xrays.csv" with path,label,group
ELSEWHERE = Path("elsewhere")  # images of the same classes that were made by other people, on other machines
PATIENT = r"(p\d+)-"  # where in a file's name the patient stands; None where a manifest has a column "group"
NETWORK = {"backbone": "vgg16", "weights": "random", "size": 64}  # yours: {"backbone": "vgg16"}, at 224 px, of ImageNet

# %% [markdown]
# ## The made-up case
#
# Every patient is X-rayed twice. In the first hospital, covid patients lie in bed, and the portable machine there
# leaves a dark frame around the picture; the others walk to the large machine, which leaves none. In the second
# hospital all go to the large one. The lungs are drawn alike in both: there is a disease to be seen, faintly.

# %%
import numpy as np
from PIL import Image, ImageOps

import featcache


def visit(folder: Path, paths: np.ndarray, labels: np.ndarray, portable: bool, seed: int) -> None:
    """Take two pictures of each patient, slightly unlike in exposure and noise."""
    rng = np.random.default_rng(seed)
    for number, (path, label) in enumerate(zip(paths, labels, strict=True)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        lungs = np.asarray(Image.open(path).convert("L"), float)
        for exposure in "ab":
            grey = lungs * rng.uniform(0.9, 1.1) + rng.normal(0, 6, lungs.shape)
            picture = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
            if portable and label == "covid":
                picture = ImageOps.expand(picture.resize((216, 216)), 20, fill=0)
            picture.save(folder / label / f"p{number:03d}-{exposure}.png")


if not HERE.exists():
    featcache.extract(backbone="pixels", size=32, cache="sample")  # draws the sample's pictures
    drawn = featcache.load("pixels", task="binary", cache="sample")
    paths, labels = np.array(drawn.paths), np.array(drawn.classes)[drawn.y]
    other = np.arange(len(paths)) % 4 == 3
    visit(HERE, paths[~other], labels[~other], portable=True, seed=1)
    visit(ELSEWHERE, paths[other], labels[other], portable=False, seed=2)

# %% [markdown]
# ## The number that one would publish
#
# Logistic regression on the frozen network's features, tuned by cross-validation, and judged on a fifth of the patients
# that are set aside.

# %%
from heads import audit, baselines, evaluate_bundle

for images in (HERE, ELSEWHERE):
    featcache.extract(images, group_regex=PATIENT, **NETWORK)


def judged(data: Path) -> dict:
    """Tune and test a logistic regression on these images; say how it did."""
    result = baselines(
        "binary", backbone=NETWORK["backbone"], pooling="avg", data=data, group_regex=PATIENT, models=["logistic"]
    )
    print(f"over five folds of patients:          {result['rows'][0]['cv_score']:.2f}")
    print("on test images of the same hospital: ", words(result["rows"][0]["test"]))
    return result


def words(test: dict) -> str:
    """An accuracy with its interval, as a sentence."""
    low, high = test["accuracy_ci"]
    return f"{test['accuracy']:.2f} right of {test['n']} images (95% interval {low:.2f} to {high:.2f}; guessing: 0.50)"


first = judged(HERE)

# %% [markdown]
# ## First question: can the classes be told apart without a lung?
#
# `audit` needs no network. It lets five classifiers try that see the file's properties, the border, the corners, the
# histogram or a thumbnail alone. What they reach, a network may have reached in the same way.

# %%
findings = audit(HERE, against=ELSEWHERE, task="binary", group_regex=PATIENT)
for probe in findings["shortcuts"]:
    print(
        f"{probe['probe']:16} {probe['score']:.2f}  p = {probe['p_value']:.4f}  {'SHORTCUT' if probe['flag'] else ''}"
    )
print("\nin words:")
for warning in findings["warnings"]:
    print("-", warning)

# %% [markdown]
# These warnings stay with the images: whatever is trained on them from now on prints them beside its numbers and keeps
# them in its bundle.
#
# ## Second question: is it right elsewhere?
#
# The model, as it was kept, on the other hospital's images.

# %%
elsewhere = evaluate_bundle(first["bundle"], ELSEWHERE, group_regex=PATIENT)
print("on the other hospital's images:      ", words(elsewhere["test"]))
counts = dict(zip(first["classes"], np.sum(elsewhere["test"]["confusion"], axis=0), strict=True))
print("it calls", " and ".join(f"{count} of them {name}" for name, count in counts.items()))

# %% [markdown]
# That is guessing. It looks for a frame, finds none, and calls everybody healthy: the sick too.
#
# ## Mend what can be mended
#
# Here the frame can be cut off. On images of yours it may be a matter of cropping, of one machine's images alone, or of
# no remedy at all: where all the sick are adults and all the healthy children, only other images help.

# %%
MENDED = Path("mended")
for path in HERE.rglob("*.png"):
    picture = Image.open(path)
    if picture.getpixel((0, 0)) == 0 and picture.getpixel((10, 128)) == 0:
        picture = ImageOps.crop(picture, 20)
    (MENDED / path.parent.name).mkdir(parents=True, exist_ok=True)
    picture.resize((256, 256)).save(MENDED / path.parent.name / path.name)
featcache.extract(MENDED, group_regex=PATIENT, **NETWORK)
second = judged(MENDED)
elsewhere = evaluate_bundle(second["bundle"], ELSEWHERE, group_regex=PATIENT)
print("on the other hospital's images:      ", words(elsewhere["test"]))

# %% [markdown]
# Less, and nearer to the truth. Twenty images of ten patients say little, as the width of their interval tells; it
# overlaps with that of the other hospital, and what the folds gave lies within both.
#
# ## Third question: were the patients new?
#
# Every patient has two pictures. Folds of images put one of them among those that a model learns from and the other
# among those that it is judged by: it need not know the disease, for it knows the patient. The same pipeline on the
# same mended rows, once with folds of images, once with folds of patients:

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

f = featcache.load(NETWORK["backbone"], task="binary", pooling="avg", data=MENDED, group_regex=PATIENT)
pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
images = cross_val_score(pipeline, f.X, f.y, cv=StratifiedKFold(5, shuffle=True, random_state=0)).mean()
patients = cross_val_score(
    pipeline, f.X, f.y, groups=f.groups, cv=StratifiedGroupKFold(5, shuffle=True, random_state=0)
).mean()
print(f"folds of images: {images:.2f}; folds of patients: {patients:.2f}")
print(f"{100 * (images - patients):.0f} points of the first number are knowledge of patients, not of a disease")

# %% [markdown]
# `baselines`, `grid` and `fit_head` keep patients whole by themselves, once they know which they are: by a column
# `group`, or by `group_regex`. Nobody can tell them that but you.
#
# What this does not show: that the number which is left is real. A shortcut inside the lungs' outline (age, bones, the
# scanner's grain) is none of the audit's probes. The third hospital may still tell.
