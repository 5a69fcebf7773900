"""What made a run, as names and values: versions, hashes, data, seed, and how much was measured."""

from onnxsens.plan.planfile import Plan
from onnxsens.report.text import count, inert
from onnxsens.results import RunRecord


def provenance(run: RunRecord) -> list[tuple[str, str]]:
    """Rows of the table, texts as they are in the files."""
    rows = [("page", run.made_by), ("model", run.model)]
    if run.plan is not None:
        rows += of_plan(run.plan)
    rows += [("technique of the curves", run.technique)] if run.technique else []
    rows += [("metric of the search", inert(run.search_metric))] if run.search_metric else []
    return rows


def of_plan(plan: Plan) -> list[tuple[str, str]]:
    """What the plan says of itself."""
    made, data, choice = plan.generator, plan.data, plan.choice
    rows = [
        ("model SHA-256", plan.model.sha256),
        ("parameters in the file", count(plan.model.parameters)),
        ("plan", f"{made.name} {made.version}, {plan.schema}"),
        ("run by", f"onnxruntime {made.onnxruntime}, {made.provider}; onnx {made.onnx}, numpy {made.numpy}"),
        ("data SHA-256", data.sha256),
        (
            "samples",
            f"{count(data.samples)}: {count(data.search)} to choose by ({count(data.scan_samples)} in scans), "
            f"{count(data.holdout)} held out; seed {data.seed}",
        ),
        ("technique", f"{plan.technique}; update {plan.update}" + calibrated(plan)),
        ("goal", goal(plan)),
        ("picked by", choice.picker),
        (
            "measured",
            f"{count(choice.points)} points of single weights, {count(choice.joint_runs)} runs of whole plans, "
            f"{count(choice.carried_out)} carried out weight by weight; "
            + (
                "all samples for everything"
                if choice.exact
                else "as few samples as told, each told wrong in 1 % at most"
            ),
        ),
    ]
    if choice.disagreement is not None:
        rows.append(("pickers disagree by", f"{choice.disagreement * 100:.1f} points of a level, on average"))
    if plan.changes is not None:
        rows.append(("changed tensors", f"{count(len(plan.changed))} in {plan.changes.file}"))
        rows.append(("their SHA-256", plan.changes.sha256))
    return rows


def calibrated(plan: Plan) -> str:
    """On how many samples the update was fitted."""
    return f", fitted on {count(plan.calibration)} samples" if plan.calibration else ""


def goal(plan: Plan) -> str:
    """What was asked for."""
    asked = plan.objective
    words = [f"drop of {inert(name)} at most {limit:g}" for name, limit in asked.max_drop.items()]
    words += [] if asked.sparsity is None else [f"sparsity {asked.sparsity:g}"]
    words += [] if asked.size is None else [f"{count(asked.size)} bytes compressed"]
    words += [] if asked.macs is None else [f"multiply-accumulates {asked.macs:g}"]
    words += [] if asked.target is None else [f"for {asked.target}"]
    words += [" ".join(map(inert, asked.limits))] if asked.limits else []
    return ", ".join(words) or "the knee between sparsity and loss"
