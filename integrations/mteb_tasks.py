"""The four tasks as tasks of MTEB.

    import mteb
    from integrations.mteb_tasks import SafetyChallenging
    mteb.evaluate(mteb.get_model("intfloat/e5-base-v2"), SafetyChallenging())

MTEB encodes the prompts, and the scores are those of the task's own evaluation: the same code computes them. All four
are of type STS, so that an encoder gets the same prompt in each of them, and the same as with --model mteb:NAME. The
keyword arguments of a task are flags of its evaluation: `data` (paper unless given), `limit`, `bootstrap`, `top_k`,
`threshold`, `detectors`. `baseline` is `own` or a number, because BeaverTails would have to come from the hub.

A result's main score is the task's headline; `low` and `high` are of its 95 % interval, and `better` is the direction.
SafetyContrast has `guarded_purity` beside it, which an encoder that knows nothing can't win.
`metrics` lists all numbers with their intervals, as a result file does. MTEB keeps results by task, whose name has the
arguments, and a digest of the files of your own: two files never share a result, nor do two versions of one.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskSTS
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata

from utils import config, tasks
from utils.compare.paired import comparing
from utils.data.sources import given_files
from utils.embed.embedder import Embedder
from utils.encoders.mteb_encoder import OF_WRAPPER, MTEBEncoder
from utils.evaluation.evaluation import Evaluation
from utils.evaluation.settings import settings_of
from utils.files import sha256_of
from utils.schema import EncoderSpec, InputError
from utils.tasks import Task

CITATION = """@inproceedings{kim2024safeembed,
  title = {Safe-Embed: Unveiling the Safety-Critical Knowledge of Sentence Encoders},
  author = {Kim, Jinseok and Jung, Jaewon and Kim, Sangyeop and Park, Sohhyung and Cho, Sungzoon},
  booktitle = {Proceedings of the 1st Workshop on Towards Knowledgeable Language Models (KnowLLM 2024)},
  year = {2024},
}"""


def _metadata(task: Task) -> TaskMetadata:
    dataset = task.format and {"path": task.format.card.url, "revision": task.format.card.sha256}
    return TaskMetadata(
        name=task.package.replace("_", ""),
        description=f"{task.question} Main score: {task.metric}; {task.better} is better.",
        type="STS",
        prompt=AbsTaskSTS.abstask_prompt,
        reference="https://arxiv.org/abs/2407.06851",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=task.headline,
        domains=["Written", "Social"],
        task_subtypes=[],
        dialect=[],
        bibtex_citation=CITATION,
        **({"dataset": dataset} | task.mteb),
    )


class SafetyTask(AbsTask):
    """A task of this repository. flags: those of its evaluation. Raises InputError for a wrong value."""

    abstask_prompt = AbsTaskSTS.abstask_prompt
    task: Task

    def __init__(self, seed: int = 42, **flags: Any) -> None:
        super().__init__(seed)
        config.load_environment()
        own = {"baseline": "own"} if self.task.uses_baseline else {}
        chosen = {"data": "paper", **own, "seed": seed, **flags}
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
        self.settings = settings_of(self.task, "evaluate", self.metadata.description, arguments)
        if own and self.settings.baseline in ("auto", "paper", "beavertails"):
            raise InputError(f"--baseline {self.settings.baseline}: a task of MTEB takes own or a number")
        named = flags if seed == 42 else {**flags, "seed": seed}
        if named:
            said = ",".join(f"{name}={named[name]}" for name in sorted(named))
            digests = "".join(map(sha256_of, given_files(self.settings.data)))
            if digests:
                said += f",sha256={hashlib.sha256(digests.encode()).hexdigest()[:16]}"
            name = re.sub(r"[^\w=,.-]+", "_", f"{self.metadata.name}-{said}", flags=re.ASCII)
            self.metadata = self.metadata.model_copy(update={"name": name})

    def load_data(self, num_proc: int | None = None, **more: Any) -> None:
        """Finds, verifies and reads the task's own files; nothing comes from the hub unless a set is only there."""
        if self.data_loaded:
            return
        self.evaluated, _ = self.task.load(self.settings.data, self.settings.limit)
        self.task.check(self.evaluated, self.settings)
        columns = {"id": self.evaluated.ids, "group": self.evaluated.groups, **self.evaluated.texts}
        self.dataset = DatasetDict({"test": Dataset.from_dict(columns)})
        self.data_loaded = True

    def unload_data(self) -> None:
        """Forgets the data, but not what the task's name says of them."""
        metadata = self.metadata
        super().unload_data()
        self.metadata = metadata

    def _evaluate_subset(
        self,
        model: Any,
        data_split: Dataset,
        *,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Any,
        prediction_folder: Path | None = None,
        **more: Any,
    ) -> dict:
        name, revision = str(model.mteb_model_meta.name), str(model.mteb_model_meta.revision)
        prompt = f"{OF_WRAPPER}MTEB for STS)"
        spec = EncoderSpec(name, name, "mteb", name, revision, dtype="auto", prompt=prompt)
        encoder = MTEBEncoder(model, spec, "cpu", self.metadata, hf_split, **encode_kwargs)
        embedder = Embedder(spec, encoder=encoder)
        result = Evaluation(self.task, self.settings, self.evaluated, embedder).computed()
        if prediction_folder:
            self._save_task_predictions(result.items, model, prediction_folder, hf_split, hf_subset)
        main = comparing(self.task).main(result)
        return {
            self.metadata.main_score: main.value,
            "low": main.low,
            "high": main.high,
            "better": main.better,
            **{name: result.value(name, "average") for name in self.task.beside_headline},
            "metrics": [{key: cell for key, cell in vars(m).items() if cell is not None} for m in result.metrics],
        }

    def _calculate_descriptive_statistics_from_split(self, split: str, **more: Any) -> Any:
        return {"num_samples": len(self.evaluated)}


def _class_of(task: Task) -> type[SafetyTask]:
    members = {"__doc__": task.question, "__module__": __name__, "task": task, "metadata": _metadata(task)}
    return type(task.package.replace("_", ""), (SafetyTask,), members)


TASKS = tuple(map(_class_of, tasks.TASKS.values()))
# Each by its name too, such as SafetyChallenging.
globals().update({task.__name__: task for task in TASKS})
