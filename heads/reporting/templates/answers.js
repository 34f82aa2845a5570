"use strict";
// What the map tells of each image, by what was learnt: one class of several, several labels, or a number.
function answersOf(data, element, marks, colours) {
  const { names, path, split, splits } = data;
  const width = names.length, every = names.map((_, c) => c);
  const chance = (i, c) => data.probabilities[i * width + c];
  const by = (codes, wrong, marks) => ({ codes, wrong, marks });

  function bars(rows, spoken) { // of words, a share, a colour
    const box = element("div", undefined, "bars");
    if (!spoken) box.setAttribute("aria-hidden", "true");
    for (const [words, share, colour, odd] of rows) {
      const bar = element("i"), fill = element("b");
      fill.style.width = `${100 * share}%`;
      bar.style.setProperty("--c", colour);
      bar.append(fill);
      box.append(element("span", words, odd ? "flag" : ""), bar, element("span", share.toFixed(2), "n"));
    }
    return box;
  }

  const kinds = {
    classes() {
      const label = (i) => data.classes[data.label[i]], guess = (i) => data.classes[data.predicted[i]];
      const wrong = data.label.map((one, i) => one !== data.predicted[i]);
      const sure = (i) => chance(i, data.predicted[i]);
      return {
        colouring: () => by(data.label, wrong, marks),
        title: (i) => (wrong[i] ? `${label(i)}, taken for ${guess(i)}` : `${label(i)}, recognised`),
        said: (i) => `Probability of ${guess(i)}: ${sure(i).toFixed(3)}`,
        details: (i) => [bars(every.map((c) => [names[c], chance(i, c), colours[marks[c] % 8]]))],
        header: ["Label", "Prediction", "Probability"],
        cells: (i) => [label(i), guess(i), sure(i).toFixed(2)],
        columns: ["label", "predicted", "probability", ...names.map((name) => `p_${name}`)],
        values: (i) => [label(i), guess(i), sure(i), ...every.map((c) => chance(i, c))],
      };
    },
    labels() {
      const known = (i, c) => data.known[i * width + c], said = (i, c) => data.said[i * width + c];
      const otherwise = (i, c) => known(i, c) !== "?" && known(i, c) !== said(i, c);
      const those = (i, of) => every.filter((c) => of(i, c) === "1").map((c) => names[c]).join(", ") || "none of them";
      const anyWrong = path.map((_, i) => every.some((c) => otherwise(i, c)));
      const words = { 1: "there", 0: "not there", "?": "not known" };
      // Those that are there first, then the most probable.
      const ranked = (i) => [...every].sort((a, b) => (known(i, b) === "1") - (known(i, a) === "1") || chance(i, b) - chance(i, a)).slice(0, 20);
      return {
        colouring: (c) => c === undefined ? by(data.label, anyWrong, marks)
          : by(path.map((_, i) => ({ 1: 0, 0: 1, "?": 2 })[known(i, c)]), path.map((_, i) => otherwise(i, c)), [1, 0, 4]),
        title: (i) => those(i, known),
        said: (i) => `Said: ${those(i, said)}`,
        details: (i) => [bars(ranked(i).map((c) => [`${names[c]}: ${words[known(i, c)]}`, chance(i, c), known(i, c) === "1" ? colours[1] : colours[0], otherwise(i, c)]), true)],
        header: ["Labels", "Said", "Said otherwise"],
        cells: (i) => [those(i, known), those(i, said), String(every.filter((c) => otherwise(i, c)).length)],
        columns: names.flatMap((name) => [name, `${name} predicted`, `p_${name}`]),
        values: (i) => every.flatMap((c) => [known(i, c) === "?" ? "" : Number(known(i, c)), Number(said(i, c)), chance(i, c)]),
      };
    },
    number() {
      const off = (i) => data.predicted[i] - data.true[i];
      const short = (value) => Number(value.toPrecision(4)).toLocaleString("en", { useGrouping: false, maximumFractionDigits: 6 });
      const none = path.map(() => false);
      return {
        colouring: () => by(data.label, none, marks),
        title: (i) => `${names[0]} ${short(data.true[i])}, predicted ${short(data.predicted[i])}`,
        said: (i) => (off(i) === 0 ? "Exactly right" : `${short(Math.abs(off(i)))} too ${off(i) > 0 ? "high" : "low"}`),
        details: () => [],
        header: [`True ${names[0]}`, "Predicted", "Off by"],
        cells: (i) => [short(data.true[i]), short(data.predicted[i]), short(off(i))],
        columns: [names[0], `${names[0]} predicted`],
        values: (i) => [data.true[i], data.predicted[i]],
      };
    },
  };
  return {
    ...kinds[data.kind](),
    name: (i) => `${path[i]} · ${splits[split[i]]}`,
    evidence: (i) => data.evidence_words[data.evidence[i]],
  };
}
