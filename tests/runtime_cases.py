"""A small model for every entry of the operator table that is ONNX Runtime's own and runs on its CPU provider."""

import numpy as np
from operator_case import (
    CONV_DATA,
    HALF,
    STEP,
    WIDE,
    Case,
    columns,
    each_turned,
    flat,
    ours,
    quantized_columns,
    real,
    steps,
    turned,
)


def dynamic_lstm(weight: int, each: bool) -> Case:
    """DynamicQuantizeLSTM keeps its weights turned; `[time 3, batch 2, 5]`, 4 units."""
    scale, zero_point = columns(16)[0].reshape(1, 16) / 16, np.full((1, 16), 128, np.uint8)  # it wants them to be equal
    if not each:
        scale, zero_point = STEP.reshape(1) / 16, HALF.reshape(1)
    inputs = [
        *(real(3, 2, 5), steps(1, 5, 16), steps(1, 4, 16), None, None, None, None, None),
        *(scale, zero_point, scale, zero_point),
    ]
    wide = (scale.reshape(1, 1, -1), zero_point.reshape(1, 1, -1))
    return ours(
        "DynamicQuantizeLSTM",
        inputs,
        (5, 4)[weight - 1] * 16 * 3 * 2,
        matrix=lambda w: each_turned((w.astype(np.float32) - wide[1]) * wide[0]),
        weight=weight,
        zero=wide[1],
        attributes={"hidden_size": 4},
    )


def attention_lstm(weight: int) -> Case:
    """AttnLSTM: 4 units, memory `[batch 2, 3, 6]`, attention over it of depth 7, attention layer of depth 8."""
    inputs = [
        *(real(3, 2, 5), real(1, 16, 5 + 8), real(1, 16, 4), None, None, None, None, None),
        *(real(1, 4, 7), real(1, 6, 7), real(1, 7), real(2, 3, 6), None, real(1, 10, 8)),
    ]
    inputs[1:3] = inputs[1] / 4, inputs[2] / 4  # no gate saturates
    shape = inputs[weight].shape
    by_step, by_memory = 3 * 2, 2 * 3
    return ours(
        "AttnLSTM",
        inputs,
        shape[1] * shape[2] * (by_memory if weight == 9 else by_step),
        matrix=flat if weight < 3 else each_turned,
        weight=weight,
        data=11 if weight == 9 else 0,
        feeds=(0,) if weight == 9 else (11,),
        attributes={"hidden_size": 4},
    )


def embedding(weight: int, entries: int) -> Case:
    """EmbedLayerNormalization normalises over features, so outputs mix rows."""
    ids = np.array([[1, 0, 1]], np.int32)
    inputs = [ids, ids, real(7, 4), real(5, 4), real(2, 4), real(4), real(4)]
    assert inputs[weight].shape == (entries, 4)
    return ours("EmbedLayerNormalization", inputs, 0, matrix=turned, weight=weight, feeds=(1,), outputs=2)


def quantized_embedding(weight: int) -> Case:
    ids = np.array([[1, 0, 1]], np.int32)
    tables = [steps(7, 4), steps(5, 4), steps(2, 4), steps(4), steps(4)]
    inputs = [ids, ids, *tables, None, *[STEP] * 5, *[HALF] * 5]
    return ours(
        "QEmbedLayerNormalization",
        inputs,
        0,
        matrix=lambda w: (w.T.astype(np.float32) - 128) * STEP,
        weight=weight,
        zero=HALF,
        feeds=(1,),
        outputs=2,
    )


RUNTIME = {
    "FusedConv": ours(
        "FusedConv",
        [CONV_DATA, real(3, 4, 3, 2), real(3)],
        3 * 4 * 6 * 2 * 4 * 4,
        (1,),
        (1, 4),
        attributes={"activation": "Relu"},
    ),
    "CausalConvWithState": ours(
        "CausalConvWithState", [real(2, 4, 6), real(4, 1, 3)], 4 * 3 * 2 * 6, (1,), (1, 1), outputs=2
    ),
    "ConvTransposeWithDynamicPads": ours(
        "ConvTransposeWithDynamicPads",
        [CONV_DATA, real(4, 3, 2, 2), np.zeros(4, np.int64)],
        4 * 3 * 4 * 2 * 30,
        (1,),
        (1, 4),
        attributes={"kernel_shape": [2, 2]},
    ),
    "FusedGemm": ours(
        "FusedGemm",
        [real(3, 4), real(6, 4), real(6)],
        3 * 4 * 6,
        (1,),
        (1, 4),
        attributes={"transB": 1, "activation": "LeakyRelu", "activation_alpha": 0.1},
    ),
    "FusedGemm, A": ours(
        "FusedGemm",
        [real(5, 4), real(4, 3)],
        5 * 4 * 3,
        (0,),
        (0, 4),
        weight=0,
        data=1,
        attributes={"activation": "Tanh"},
    ),
    "FusedMatMul": ours("FusedMatMul", [real(2, 3, 4), real(4, 6)], 2 * 3 * 4 * 6, (-1,), (-1, 4)),
    "FusedMatMul, B turned": ours(
        "FusedMatMul", [real(2, 3, 4), real(6, 4)], 2 * 3 * 4 * 6, (-1,), (-1, 4), attributes={"transB": 1}
    ),
    "FusedMatMul, B turned in batches": ours(
        "FusedMatMul", [real(2, 3, 4), real(2, 6, 4)], 2 * 3 * 4 * 6, (0, -1), (-1, 4), attributes={"transB": 1}
    ),
    "FusedMatMul, data turned": ours(
        "FusedMatMul", [real(2, 4, 3), real(4, 6)], 2 * 3 * 4 * 6, (-1,), (-2, 4), attributes={"transA": 1}
    ),
    "FusedMatMul, A": ours("FusedMatMul", [real(2, 5, 4), real(4, 3)], 2 * 5 * 4 * 3, (0, 1), (0, 4), weight=0, data=1),
    "FusedMatMul, A turned": ours(
        "FusedMatMul",
        [real(2, 4, 5), real(2, 4, 3)],
        2 * 5 * 4 * 3,
        (0, 1),
        (-2, 4),
        weight=0,
        data=1,
        attributes={"transA": 1},
    ),
    "TransposeMatMul": ours(
        "TransposeMatMul", [real(2, 3, 4), real(6, 4)], 2 * 3 * 4 * 6, (-1,), (-1, 4), attributes={"transB": 1}
    ),
    "Attention": ours(
        "Attention",
        [real(2, 5, 4), real(4, 12), real(12)],
        2 * 5 * 4 * 12,
        None,
        (-1, 4),
        turned,
        attributes={"num_heads": 2},
    ),
    "Attention, values of another width": ours(
        "Attention",
        [real(2, 5, 4), real(4, 14), real(14)],
        2 * 5 * 4 * 14,
        None,
        (-1, 4),
        turned,
        attributes={"num_heads": 2, "qkv_hidden_sizes": [4, 4, 6]},
    ),
    "QAttention": ours(
        "QAttention",
        [steps(2, 5, 4), steps(4, 12), real(12), STEP, STEP, None, HALF, HALF],
        2 * 5 * 4 * 12,
        None,
        (-1, 4),
        lambda w: (w.T.astype(np.float32) - 128) * STEP,
        zero=HALF,
        data_zero=128,
        attributes={"num_heads": 2},
    ),
    "QGemm": ours(
        "QGemm",
        [steps(3, 4), STEP, HALF, steps(4, 6), STEP, HALF],
        3 * 4 * 6,
        (1,),
        (1, 4),
        weight=3,
        zero=HALF,
        data_zero=128,
    ),
    "QGemm, B turned, a scale for each": ours(
        "QGemm",
        [steps(3, 4), STEP, HALF, steps(6, 4), *columns(6)],
        3 * 4 * 6,
        (1,),
        (1, 4),
        weight=3,
        zero=quantized_columns(6, 0, 2),
        data_zero=128,
        attributes={"transB": 1},
    ),
    "QGemm, a scale for each": ours(
        "QGemm",
        [steps(3, 4), STEP, HALF, steps(4, 6), *columns(6)],
        3 * 4 * 6,
        (1,),
        (1, 4),
        weight=3,
        zero=quantized_columns(6),
        data_zero=128,
    ),
    "DynamicQuantizeMatMul": ours(
        "DynamicQuantizeMatMul",
        [real(3, 4), steps(4, 6), *columns(6)],
        3 * 4 * 6,
        (-1,),
        zero=quantized_columns(6),
    ),
    "MatMulIntegerToFloat": ours(
        "MatMulIntegerToFloat",
        [steps(3, 4), steps(4, 6), STEP, columns(6)[0], HALF, columns(6)[1]],
        3 * 4 * 6,
        (-1,),
        (-1, 4),
        zero=quantized_columns(6),
        data_zero=128,
    ),
    **{
        f"DynamicQuantizeLSTM, input {weight}{', a scale for each' * each}": dynamic_lstm(weight, each)
        for weight in (1, 2)
        for each in (False, True)
    },
    **{f"AttnLSTM, input {weight}": attention_lstm(weight) for weight in (1, 2, 8, 9, 13)},
    **{f"EmbedLayerNormalization, input {w}": embedding(w, n) for w, n in ((2, 7), (3, 5), (4, 2))},
    **{f"QEmbedLayerNormalization, input {w}": quantized_embedding(w) for w in (2, 3, 4)},
    "QLinearConv, channels last": ours(
        "QLinearConv",
        [steps(1, 6, 5, 2), STEP, HALF, steps(3, 2, 3, 3), STEP, HALF, WIDE, HALF],
        3 * 2 * 9 * 4 * 3,
        (-1,),
        (-1, 2),
        weight=3,
        zero=HALF,
        data_zero=128,
        attributes={"channels_last": 1},
    ),
}
