"""Where a plan is to run, and which zeros pay there. One file each; knows weights and patterns, no plans.

To add one: a file with a `Target`, a line in the table below, a test. The laws that all keep are
`onnxsens.targets.contract.TargetContract`.
"""

from onnxsens.plugins import Registry
from onnxsens.targets.assessment import Assessment, Judgement, assess, look_up
from onnxsens.targets.profile import Cost, Speedup, Target

__all__ = ["Assessment", "Cost", "Judgement", "Speedup", "Target", "assess", "look_up", "targets"]

targets: Registry[Target] = Registry(
    "targets",
    "target",
    {
        "channel": "onnxsens.targets.channel:TARGET",
        "coreml-ane": "onnxsens.targets.coreml_ane:TARGET",
        "dense-runtime": "onnxsens.targets.dense_runtime:TARGET",
        "ethos-u": "onnxsens.targets.ethos_u:TARGET",
        "openvino-cpu": "onnxsens.targets.openvino_cpu:TARGET",
        "size-only": "onnxsens.targets.size_only:TARGET",
        "tensorrt-2to4": "onnxsens.targets.tensorrt_2to4:TARGET",
        "xnnpack": "onnxsens.targets.xnnpack:TARGET",
    },
)
