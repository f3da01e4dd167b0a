"""Notebooks hold the pictures of a run in order, say nothing of the machine they ran on, and run anew as they stand.

What a notebook tells its reader is checked in the kernel that has just run it: :data:`CLAIMS`.
"""

import ast
import base64
import copy
import json
import os
import re
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import titans_ts

pytest.importorskip("nbformat", reason="reading notebooks needs nbformat: pip install 'titans-ts[dev]'")
pytest.importorskip("nbclient", reason="running notebooks needs nbclient: pip install 'titans-ts[dev]'")
pytest.importorskip("ipykernel", reason="running notebooks needs ipykernel: pip install 'titans-ts[dev]'")
import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

REPOSITORY = Path(titans_ts.__file__).parents[1]
TUTORIALS = REPOSITORY / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
SCRIPTS = sorted(path for folder in ("benchmarks", "datasets", "tutorials") for path in (REPOSITORY / folder).glob("*.py"))
SECONDS_A_CELL = 300
BYTES = 600_000
DRAWS = re.compile(r"\bplot_\w+\(")
LINK = re.compile(r"\]\(([^)#:]+)\)")
LOCAL_PATH = re.compile(r"(?<![\w/:.])/(home|root|Users|tmp|var|opt|mnt|usr|private)/|\b[A-Z]:\\|site-packages|~/")

FORMULAS = TUTORIALS / "the_seven_formulas.ipynb"
EQUATIONS = {1: [1, 2], 2: [3, 4, 5], 3: [8, 12], 4: [9, 10], 5: [13], 6: [15], 7: [19]}
"""The equations of arXiv 2501.00663 that each of the seven formulas is."""

LONG = {"a_million_rows_of_ecg", "forecast_with_memory", "promoters_from_fasta", "windows_in_scikit_learn"}
"""Notebooks that run for minutes: `pytest -m slow` runs them."""

NEEDS = {"a_million_rows_of_ecg": "mitbih100", "promoters_from_fasta": "gue/prom_300_tata"}
"""By notebook: the data set that it cannot do without, and that may be out of reach."""

CLAIMS = {
    "windows_in_scikit_learn": {
        "two years and a third": "(len(early), len(late)) == (731, 364) and not early.index.isin(late.index).any()",
        "holidays lie among the days off": "sum(day in holidays.index for day in"
        " wrong['logistic regression of its embedding']) <= 2",
        "the row itself does no worse": "len(wrong['logistic regression of the row'])"
        " <= len(wrong['logistic regression of its embedding']) < 20",
        "they lie apart from days off": "max(abs(np.corrcoef(x, y_late == 'day off')[0, 1]) for x in places.T) > 0.6",
        "and of the working days winter lies at one end": "max(abs(np.corrcoef(x, late[y_late == 'working day'].index.month"
        ".isin([10, 11, 12, 1, 2, 3]))[0, 1]) for x in places[y_late == 'working day'].T) > 0.6",
        "no memory alone comes near": "(table['memory'] > 1.5 * table['linear path']).all()",
        "together they are a little better": "table['both paths'].mean() < table['linear path'].iloc[0]",
        "nearly all of the loss is in one fold": "(folds.iloc[:, 2] > 3 * folds.iloc[:, :2].sum(axis=1)).all()",
        "the memory has no share": "best[-1].memory_gain_.share == 0 and judged['both'] == judged['linear']",
        "the Monday after Christmas is wrong": "best.predict(late.loc[['2014-12-29']]).item() == 'day off'",
        "better than either guess": "(errors.loc['by both'] < 0.8 * errors.loc[['as today',"
        " 'as a week before']].min()).all()",
        "the memory helps with the highest": "0.9 < errors.loc['by both', 'highest']"
        " / errors.loc['by linear', 'highest'] < 1",
        "and not with the lowest": "abs(errors.loc['by both', 'lowest'] / errors.loc['by linear', 'lowest'] - 1) < 0.05",
        "heat is not foretold": "(came['highest'] - answers['by both'][:, 0])[hot].median() > 1",
        "it finds the heat": "(heat[top[:5]] > 41).all() and (heat[top[:10]] > 33).all()"
        " and [day.day for day in top[:4].sort_values()] == [14, 15, 16, 17]",
        "and misses holidays": "top.isin(holidays.index).sum() <= 2",
        "among working days it finds them": "oddest.index.isin(ranks.index).sum() == 10 and is_hot.iloc[:5].all()",
        "two of them late": "(ranks.loc[['2014-03-10', '2014-11-04'], 'among working days'] > 20).all()",
        "most stay below the line": "1 <= flagged.isin(holidays.index).sum() <= 4",
    },
    "a_million_rows_of_ecg": {
        "a million rows are read": "forecaster.n_seen_ == 1_000_000",
        "the state keeps its size": "costs['state, kB'].nunique() == 1",
        "and the process its memory": "costs['process, MB'].max() < 1.03 * costs['process, MB'].iloc[0]",
        "it keeps up with a heart": "speed > 3_600",
        "the ventricular beat surprises most": "table.nlargest(1, 'surprise')['beat'].tolist() == ['V']",
        "above every normal beat": "table.loc[table['beat'] == 'V', 'surprise'].item() > 1.2 * threshold",
        "atrial beats do not stand out": "abs(by_surprise - 0.5) < 0.15",
        "and are told by how early they come": "by_time > 0.97",
    },
    "forecast_with_memory": {
        "the state does not grow": "len(rows) == 5 and len({row[2] for row in rows}) == 1",
        "each day adds its 48 rows": "[after[1] - before[1] for before, after in zip(rows, rows[1:])] == [48] * 4",
        "a loaded forecaster foretells the same": "difference < 1e-5",
    },
    "promoters_from_fasta": {
        "the files hold the data": "sorted(train) == sorted(data.train['sequence'])"
        " and y_test.sum() == data.test['label'].sum()",
        "TATA is a little more frequent in promoters": "3 < summary['with TATA, %'].diff()[1] < 15",
        "places are used": "classifier.network_.config.places == (300, 0)",
        "cut at one point, the memory has little to add": "0 <= at_point.gain < 0.06"
        " and abs(scores.loc[('at one point', 'both'), 'MCC'] - scores.loc[('at one point', 'linear'), 'MCC']) < 0.04",
        "cut by chance, the linear path falls far behind": "scores.loc[('by chance', 'linear'), 'MCC']"
        " < scores.loc[('at one point', 'linear'), 'MCC'] - 0.1",
        "and the memory gains on dev": "gain.share > 0 and gain.gain > 0.01",
        "but no more than its error on test": "-0.03 < scores.loc[('by chance', 'both'), 'MCC']"
        " - scores.loc[('by chance', 'linear'), 'MCC'] < 0.08",
        "about half are weakest at the box, some at the start": "7 <= len(box) <= 14 and len(at_start) > 1",
        "most boxes hold TATAA": "box['bases there'].str.contains('TATAA').mean() > 0.6",
        "the rest hold known words": "found.drop(box.index.union(at_start.index))['bases there']"
        ".str.contains('CCAAT|TGACGTCA').mean() > 0.6",
        "the darkest columns are in the box, two more at the start": "216 <= effects.groupby('position_1based')['effect']"
        ".mean().idxmin() <= 230 and {249, 250} <= set(effects[effects['position_1based'].between(first, last)]"
        ".groupby('position_1based')['effect'].mean().nsmallest(8).index)",
        "attribute says nearly what mutagenesis says": "np.corrcoef([attribution[row.position_1based - 1]["
        "['ACGT'.index(row.alt), 'ACGT'.index(row.ref)]] @ [1, -1] for row in effects.itertuples()], effects['effect'])"
        "[0, 1] > 0.9",
        "no single change turns the answer": "min(effects['effect'].min() for effects in maps.values()) > -log_odds.min()",
        "the highest peak is at the start": "abs(curves['promoters'].argmax() + 1 - 250) < 2",
        "the other where the box belongs": "218 <= curves['promoters'][:240].argmax() + 1 <= 226",
        "the others have a trough there": "218 <= curves['others'].argmin() + 1 <= 223",
        "letters of the box lie upon each other": "(means['promoters'][218:226, [0, 3]].min(1) > 0).sum() > 2",
        "CA is the tallest": "means['promoters'][248:250].argmax(1).tolist() == [1, 0]",
        "TAT speaks against": "means['others'][218:221].argmin(1).tolist() == [3, 0, 3]"
        " and curves['others'][218:221].max() < -0.1",
        "the others hold TATA from odd positions only": "all(shares[f'TATA from {i}'][0] == 0 for i in range(218, 226, 2))"
        " and shares.loc[0].drop('CA at 249').idxmax() == 'TATA from 219'",
        "in promoters it begins anywhere": "all(shares[f'TATA from {i}'][1] > 0 for i in range(217, 226))",
        "CA at the start": "6.5 < shares['CA at 249'][1] / shares['CA at 249'][0] < 7.5",
        "15 places are enough for a high score": "score_of_box > 0.5",
        "strands are told apart": "rows['None'][0] > 0.5 and rows['None'][1] > 0.6 and abs(rows['None'][2]) < 0.2",
        "or are the same": "rows['average'][0] < 1e-4 and abs(rows['average'][1] - rows['average'][2]) < 0.02"
        " and rows['average'][1] < rows['None'][1]",
        "a loaded classifier answers the same": "difference < 1e-5 and not Path(folder.name).exists()",
    },
    "the_seven_formulas": {
        "weights are shares": "all(abs(shares.sum() - 1) < 1e-12 for shares in weights.values())",
        "the question decides": "[shares.topk(2).indices.tolist() for shares in weights.values()] == [[0, 1], [2, 3]]",
        "attention is the softmax": "(by_hand - weights['Will it be hot?']).abs().max() < 1e-12",
        "sums answer as pairs do": "(all_pairs - prepared).abs().max() < 1e-10",
        "sums do not grow": "(kept_by_sums, kept_by_attention[-1].item()) == (8, 1000)",
        "surprise is the gradient": "(surprise[0] - 2 * (demand[0] - 5.5).abs()).abs() < 1e-12",
        "the odd day surprises most": "surprise.argmax() == hot_day",
        "ten times as much as the days before": "surprise[hot_day] > 10 * surprise[hot_day - 7 : hot_day].mean()",
        "a push lasts one day": "pushed.nonzero().flatten().tolist() == [2]",
        "without momentum the write is over": "(written['0'] > 0).nonzero().flatten().tolist() == [2]",
        "with momentum it rolls on": "(written['0.7'][2:] / written['0.7'][2] - 0.7 ** torch.arange(7)).abs().max() < 1e-12",
        "alpha 0 keeps": "(recalled['0: keeps all'][4:, 7] - 4.3).abs().max() < 1e-12",
        "alpha fades": "(recalled['0.07 daily: fades'][4:, 7] - 5.5 + 1.2 * 0.93 ** torch.arange(31)).abs().max() < 1e-12",
        "alpha 1 clears": "(recalled['1 on day 21: clears all'][clearing_day] - start.flatten()).abs().max() < 1e-12",
        "what comes back returns": "(recalled['1 on day 21: clears all'][-1, 2] - 6.5).abs() < 1e-12",
        "what does not is gone": "(recalled['1 on day 21: clears all'][-1, 7] - 5.5).abs() < 1e-12",
        "reading leaves every bit": "kept and set(moved[:20]) == {0.0}",
        "a write moves the weights once": "moved[20] > 0.01 and set(moved[20:]) == {moved[20]}",
        "what was written is found": "(found[:7] - week).abs().max() < 0.2 and found[5] < found[7] < found[4]",
        "persistent tokens are always seen": "(looks[:, :persistent] > 0).all() and (looks.sum(1) - 1).abs().max() < 1e-12",
        "a token leaves the window": "looks[:window, persistent].min() > 0 and (looks[window:, persistent] == 0).all()",
        "attention alone is cut off": "reach['attention alone'].tril(-8).max() < 1e-12",
        "a memory lets the past through": "all(reach[name].tril()[-1].min() > 1e-4 for name in ('MAC', 'MAG', 'MAL'))",
        "nothing comes from the future": "all(share.triu(1).max() < 1e-12 for share in reach.values())",
    },
}
"""By notebook: what it shows, as an expression of what its cells leave behind."""


class ThisInterpreter(AsyncKernelManager):
    """Starts a kernel of the interpreter that runs the tests, whatever kernels are installed."""

    @property
    def kernel_spec(self):
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def require_data(name):
    """Skip, and say how the data can be had, when a notebook's data set is not on this machine."""
    try:
        if name in NEEDS:
            titans_ts.load_dataset(NEEDS[name])
    except FileNotFoundError as error:
        pytest.skip(f"{name}.ipynb: {error}")


def read(path):
    return nbformat.read(path, as_version=4)


def run(notebook, folder, claims=()):
    """Return the notebook as a fresh kernel leaves it, and the names of the claims that do not hold in it then.

    One thread, since spinning threads starve on a busy machine.
    """
    here, profile = folder / "here", folder / "profile"
    here.mkdir(parents=True)
    found = copy.deepcopy(notebook)
    for cell in code_cells(found):
        cell.update(outputs=[], execution_count=None)
    ask = f"import json\nprint(json.dumps([name for name, claim in {dict(claims)!r}.items() if not eval(claim)]))"
    found.cells.append(nbformat.v4.new_code_cell(ask))
    client = NotebookClient(
        found,
        timeout=SECONDS_A_CELL,
        kernel_manager_class=ThisInterpreter,
        resources={"metadata": {"path": str(here)}},
    )
    places = {"PYTHONPATH": str(REPOSITORY), "IPYTHONDIR": str(profile), "PYTHONDONTWRITEBYTECODE": "1"}
    executed = client.execute(env={**os.environ, **places, "OMP_NUM_THREADS": "1"})
    return executed, json.loads(executed.cells.pop().outputs[-1].text)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(cell):
    """Return the PNG pictures among the outputs of a cell, decoded."""
    found = [output["data"]["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return [png for png in map(base64.b64decode, found) if png.startswith(b"\x89PNG\r\n\x1a\n")]


def texts(cell):
    """Return everything of a cell that can be read: its source, and its outputs except pictures."""
    found = [cell.source]
    for output in cell.get("outputs", []):
        found += [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", [])]
        found += [str(data) for kind, data in output.get("data", {}).items() if not kind.startswith("image/")]
    return found


def faults(notebook):
    """Say what is wrong with a notebook that has been run."""
    cells, found = code_cells(notebook), []
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        found.append(f"cells were run in the order {counts}; restart the kernel and run them all")
    for cell in cells:
        if DRAWS.search(cell.source) and not pictures(cell):
            found.append(f"cell {cell.id} draws and shows no picture; end it with the figure")
        if any(output.output_type == "error" for output in cell.outputs) or "Traceback" in "".join(texts(cell)):
            found.append(f"cell {cell.id} ended in an error")
    for cell in notebook.cells:
        text = "\n".join(texts(cell))
        own = [place for place in (str(REPOSITORY), str(Path.home()), sys.prefix) if len(place) > 1 and place in text]
        if own or LOCAL_PATH.search(text):
            found.append(f"cell {cell.id} names a place on somebody's machine")
    if sum(len(pictures(cell)) for cell in cells) < 3:
        found.append("there are fewer than 3 pictures")
    kernel = notebook.metadata.get("kernelspec", {})
    if (kernel.get("name"), kernel.get("language")) != ("python3", "python"):
        found.append(f"the kernel is {dict(kernel)}; readers have python3")
    return found


def notebook_of(*sources, picture="iVBORw0KGgo="):
    """Return a small notebook that looks as if it had been run, every cell with a picture."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    for number, source in enumerate(sources, 1):
        output = nbformat.v4.new_output("execute_result", {"image/png": picture, "text/plain": "<Figure>"})
        cell = nbformat.v4.new_code_cell(source, execution_count=number, outputs=[output], id=f"cell-{number}")
        notebook.cells.append(cell)
    return notebook


def test_there_is_a_tutorial():
    assert NOTEBOOKS, f"there is no notebook in {TUTORIALS}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_notebook_can_be_read_without_running_it(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert faults(notebook) == []
    assert path.stat().st_size < BYTES, f"{path.name} is large: draw with fewer dots per inch"
    links = [link for cell in notebook.cells if cell.cell_type == "markdown" for link in LINK.findall(cell.source)]
    assert [link for link in links if not (TUTORIALS / link).exists()] == []
    assert path.name in LINK.findall((TUTORIALS / "README.md").read_text(encoding="utf-8"))


def ours_imported_by(source):
    """Yield module and name of every import from the library or its bench."""
    plain = re.sub(r"^%.*", "", source, flags=re.M)  # without commands to IPython
    for node in ast.walk(ast.parse(plain)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("titans_ts", "titans_bench"):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SCRIPTS], ids=lambda path: path.name)
def test_what_a_notebook_or_script_imports_is_there(path):
    """Those that run for long are seldom run; what they import may not move without them."""
    source = "\n".join(cell.source for cell in code_cells(read(path))) if path.suffix == ".ipynb" else path.read_text()
    for module, name in ours_imported_by(source):
        assert hasattr(import_module(module), name) or find_spec(f"{module}.{name}"), f"{module} has no {name}"


@pytest.mark.parametrize("name", ["recipe", "ablation"])
def test_a_recipe_changes_constants_that_are_there(name):
    spec = spec_from_file_location(name, REPOSITORY / "benchmarks" / f"{name}.py")
    script = module_from_spec(spec)
    sys.modules[name] = script  # where dataclasses look for it
    spec.loader.exec_module(script)
    places = {place for constants, _ in script.SETTINGS.values() for place in constants}
    assert [place for place in places if not hasattr(*place)] == []


@pytest.mark.parametrize("number", EQUATIONS)
def test_each_of_the_seven_formulas_stands_beside_its_picture(number):
    cells = read(FORMULAS).cells
    (place,) = [i for i, cell in enumerate(cells) if cell.source.startswith(f"## {number}. ")]
    text, code = cells[place : place + 2]
    assert [int(tag) for tag in re.findall(r"\\tag\{(\d+)\}", text.source)] == EQUATIONS[number]
    assert len(pictures(code)) == 1


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in LONG else []) for path in NOTEBOOKS],
)
def test_a_notebook_runs_as_it_stands_shows_what_it_says_and_writes_nothing(path, tmp_path):
    require_data(path.stem)
    stored, before = read(path), sorted(TUTORIALS.rglob("*"))
    executed, broken = run(stored, tmp_path, CLAIMS[path.stem])
    assert faults(executed) == []
    assert broken == []
    assert [len(pictures(cell)) for cell in code_cells(executed)] == [len(pictures(cell)) for cell in code_cells(stored)]
    assert list((tmp_path / "here").iterdir()) == []
    assert sorted(TUTORIALS.rglob("*")) == before


def test_the_kernel_is_this_interpreter_and_an_error_is_raised(tmp_path):
    notebook = notebook_of("import sys, titans_ts\nprint(sys.executable, titans_ts.__file__)")
    executed, broken = run(notebook, tmp_path / "first", {"holds": "titans_ts", "fails": "sys.executable == ''"})
    assert broken == ["fails"]
    (cell,) = executed.cells
    (output,) = cell.outputs
    assert output.text.split() == [sys.executable, titans_ts.__file__]
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run(notebook_of("1 / 0"), tmp_path / "second")


def test_a_whole_notebook_has_no_fault():
    assert faults(notebook_of("plot_forecast(x)", "plot_surprise(x)", "from a import plot_b\nfigure  # 1/2, a/tmp/b")) == []


def _swap(notebook):
    notebook.cells[0].execution_count, notebook.cells[1].execution_count = 2, 1


def _skip(notebook):
    notebook.cells[2].execution_count = None


def _clear(notebook):
    notebook.cells[1].outputs = []


def _spoil(notebook):
    notebook.cells[1].outputs[0].data["image/png"] = "AAAA"


def _fail(notebook):
    notebook.cells[2].outputs += [nbformat.v4.new_output("error", ename="E", evalue="e", traceback=["line"])]


def _print(text):
    def put(notebook):
        notebook.cells[2].outputs += [nbformat.v4.new_output("stream", name="stderr", text=text)]

    return put


def _drop_a_cell(notebook):
    del notebook.cells[2]


def _other_kernel(notebook):
    notebook.metadata.kernelspec.name = "my-env"


def _source(text):
    def put(notebook):
        notebook.cells.append(nbformat.v4.new_markdown_cell(text))

    return put


@pytest.mark.parametrize(
    ("break_it", "word"),
    [
        (_swap, "order [2, 1, 3]"),
        (_skip, "order [1, 2, None]"),
        (_clear, "cell-2 draws and shows no picture"),
        (_spoil, "cell-2 draws and shows no picture"),
        (_fail, "cell-3 ended in an error"),
        (_print("Traceback (most recent call last):"), "cell-3 ended in an error"),
        (_print("a " + "/".join(["", "home", "somebody", "file.py:21: UserWarning"])), "cell-3 names a place"),
        (_print(f"{titans_ts.__file__}:1: UserWarning"), "cell-3 names a place"),
        (_print("lib/site-packages/tqdm/auto.py"), "cell-3 names a place"),
        (_print("C:\\Users\\me"), "cell-3 names a place"),
        (_source("read `" + "/".join(["", "tmp", "demand.csv"]) + "`"), "names a place"),
        (_drop_a_cell, "fewer than 3 pictures"),
        (_other_kernel, "readers have python3"),
    ],
)
def test_a_broken_notebook_is_seen(break_it, word):
    notebook = notebook_of("plot_forecast(x)", "plot_surprise(x)", "figure")
    break_it(notebook)
    assert any(word in fault for fault in faults(notebook)), faults(notebook)
