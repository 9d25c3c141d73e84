"""The program is known by its files and packages."""

from utils import config
from utils.results import program


def test_every_file_that_can_change_a_number_is_in_the_digest(tmp_path, monkeypatch):
    names = ["utils/one.py", "utils/encoders/encoders.yaml", "utils/encoders/paper_figures.json", "utils/data/sub.py",
             "Safety_X/one.py", "Safety_X/parts/two.py"]  # fmt: skip
    without = ["Safety_X/data/one.json", "Safety_X/README.md", "Safety_Y/one.py"]
    for name in [*names, *without]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    monkeypatch.setattr(program, "_shared_code", program._shared_code.__wrapped__)  # without what it has kept
    code_digest = program.code_digest.__wrapped__
    digests = [code_digest("Safety_X")]
    for name in names:
        (tmp_path / name).write_text("x = 2")
        digests.append(code_digest("Safety_X"))
    (tmp_path / "utils" / "one.py").rename(tmp_path / "utils" / "data" / "one.py")
    digests.append(code_digest("Safety_X"))
    monkeypatch.setattr(program, "SCORING_PACKAGES", ("numpy",))
    digests.append(code_digest("Safety_X"))
    assert len(set(digests)) == 1 + len(names) + 2
    for name in without:
        (tmp_path / name).write_text("x = 2")
    assert code_digest("Safety_X") == digests[-1]
