"""A small model for every entry of the operator table that is one of ONNX's own."""

import numpy as np
from operator_case import CONV_DATA, HALF, STEP, WIDE, Case, columns, flat, quantized_columns, real, steps


def recurrent(operator: str, gates: int, weight: int) -> Case:
    """Two directions, 4 units, data `[time 3, batch 2, 5]`."""
    inputs = [real(3, 2, 5), real(2, gates * 4, 5), real(2, gates * 4, 4)]
    width = inputs[weight].shape[-1]
    return Case(
        operator,
        inputs,
        2 * gates * 4 * width * 3 * 2,
        column=(-1, 5) if weight == 1 else None,
        matrix=flat,
        weight=weight,
        attributes={"hidden_size": 4, "direction": "bidirectional"},
    )


IDS = np.array([[3, 0], [1, 3]], np.int64)
DEFORMED = real(2, 18, 4, 3)
NONE = np.zeros((), np.int8)

STANDARD = {
    "Conv": Case("Conv", [CONV_DATA, real(3, 4, 3, 2)], 3 * 4 * 6 * 2 * 4 * 4, (1,), (1, 4)),
    "Conv in groups": Case(
        "Conv",
        [CONV_DATA, real(6, 2, 3, 3)],
        6 * 2 * 9 * 2 * 2 * 2,
        (1,),
        (1, 2),
        attributes={"group": 2, "strides": [2, 2]},
    ),
    "Conv of each channel": Case(
        "Conv", [CONV_DATA, real(4, 1, 3, 3)], 4 * 9 * 2 * 4 * 3, (1,), (1, 1), attributes={"group": 4}
    ),
    "Conv in 1-D": Case("Conv", [real(2, 3, 9), real(5, 3, 3)], 5 * 3 * 3 * 2 * 7, (1,), (1, 3)),
    "Conv in 3-D": Case("Conv", [real(1, 2, 4, 4, 4), real(3, 2, 2, 2, 2)], 3 * 2 * 8 * 27, (1,), (1, 2)),
    "ConvTranspose": Case(
        "ConvTranspose", [CONV_DATA, real(4, 3, 2, 2)], 4 * 3 * 4 * 2 * 30, (1,), (1, 4), attributes={"strides": [2, 2]}
    ),
    "ConvTranspose in groups": Case(
        "ConvTranspose", [CONV_DATA, real(4, 3, 2, 2)], 4 * 3 * 4 * 2 * 30, (1,), (1, 2), attributes={"group": 2}
    ),
    "DeformConv": Case(
        "DeformConv",
        [CONV_DATA, real(3, 4, 3, 3), DEFORMED],
        3 * 4 * 9 * 2 * 4 * 3,
        (1,),
        (1, 4),
        feeds=(2,),
        opset=19,
    ),
    "Gemm": Case("Gemm", [real(3, 4), real(4, 6)], 3 * 4 * 6, (1,), (1, 4)),
    "Gemm, B turned": Case("Gemm", [real(3, 4), real(6, 4)], 3 * 4 * 6, (1,), (1, 4), attributes={"transB": 1}),
    "Gemm, both turned": Case(
        "Gemm", [real(4, 3), real(6, 4), real(6)], 3 * 4 * 6, (1,), (0, 4), attributes={"transA": 1, "transB": 1}
    ),
    "Gemm, A": Case("Gemm", [real(5, 4), real(4, 3)], 5 * 4 * 3, (0,), (0, 4), weight=0, data=1),
    "Gemm, A turned": Case(
        "Gemm", [real(4, 5), real(4, 3)], 5 * 4 * 3, (0,), (0, 4), weight=0, data=1, attributes={"transA": 1}
    ),
    "MatMul": Case("MatMul", [real(2, 3, 4), real(4, 6)], 2 * 3 * 4 * 6, (-1,), (-1, 4)),
    "MatMul in batches": Case("MatMul", [real(2, 3, 4), real(2, 4, 6)], 2 * 3 * 4 * 6, (0, -1), (-1, 4)),
    "MatMul, repeated": Case("MatMul", [real(5, 2, 3, 4), real(2, 4, 6)], 5 * 2 * 3 * 4 * 6, (1, -1), (-1, 4)),
    "MatMul, A": Case("MatMul", [real(5, 4), real(2, 4, 3)], 2 * 5 * 4 * 3, (-2,), (-2, 4), weight=0, data=1),
    "MatMul, A in batches": Case(
        "MatMul", [real(2, 5, 4), real(2, 4, 3)], 2 * 5 * 4 * 3, (0, -2), (-2, 4), weight=0, data=1
    ),
    "MatMul, double": Case(
        "MatMul",
        [real(3, 4).astype(np.float64), real(4, 6).astype(np.float64)],
        3 * 4 * 6,
        (-1,),
        (-1, 4),
        zero=np.zeros((), np.float64),
    ),
    "MatMul, half": Case(
        "MatMul",
        [real(3, 4).astype(np.float16), real(4, 6).astype(np.float16)],
        3 * 4 * 6,
        (-1,),
        (-1, 4),
        zero=np.zeros((), np.float16),
    ),
    "Gather": Case("Gather", [real(4, 3), IDS], 0, (-1,), weight=0, data=1),
    "Gather, axis 1": Case("Gather", [real(2, 4, 3), IDS], 0, (0, -1), weight=0, data=1, attributes={"axis": 1}),
    "Gather, last axis": Case("Gather", [real(2, 3, 4), IDS], 0, (0, 1), weight=0, data=1, attributes={"axis": -1}),
    "Einsum": Case(
        "Einsum", [real(2, 3, 4), real(4, 6)], 2 * 3 * 4 * 6, (-1,), (-1, 4), attributes={"equation": "bij, jk -> bik"}
    ),
    "Einsum to heads": Case(
        "Einsum",
        [real(2, 3, 4), real(4, 2, 5)],
        2 * 3 * 4 * 10,
        (1, 3),
        (-1, 4),
        attributes={"equation": "bij,jhd->bhid"},
    ),
    "Einsum from heads": Case(
        "Einsum", [real(2, 3, 2, 5), real(2, 5, 4)], 2 * 3 * 10 * 4, (-1,), attributes={"equation": "bihd,hdk->bik"}
    ),
    "Einsum, implicit": Case(
        "Einsum", [real(3, 4), real(4, 6)], 3 * 4 * 6, (-1,), (-1, 4), attributes={"equation": "ij,jk"}
    ),
    "Einsum with an ellipsis": Case(
        "Einsum", [real(2, 3, 4), real(6, 4)], 2 * 3 * 4 * 6, (-1,), (-1, 4), attributes={"equation": "...j,kj->...k"}
    ),
    "Einsum, first": Case(
        "Einsum",
        [real(4, 6), real(3, 4)],
        3 * 4 * 6,
        (-1,),
        (-1, 4),
        weight=0,
        data=1,
        attributes={"equation": "jk,ij->ik"},
    ),
    "Einsum, a weight for each head": Case(
        "Einsum",
        [real(2, 3, 4), real(3, 4, 5)],
        2 * 3 * 4 * 5,
        (1, 2),
        (-1, 4),
        attributes={"equation": "bhj,hjk->bhk"},
    ),
    **{
        f"{operator}, input {weight}": recurrent(operator, gates, weight)
        for operator, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
        for weight in (1, 2)
    },
    "QLinearConv": Case(
        "QLinearConv",
        [steps(1, 2, 6, 5), STEP, HALF, steps(3, 2, 3, 3), STEP, HALF, WIDE, HALF],
        3 * 2 * 9 * 4 * 3,
        (1,),
        (1, 2),
        weight=3,
        zero=HALF,
        data_zero=128,
    ),
    "QLinearConv, a scale for each": Case(
        "QLinearConv",
        [
            *(steps(1, 2, 6, 5), STEP, HALF, steps(3, 2, 3, 3, dtype=np.int8)),
            *(columns(3)[0], np.zeros(3, np.int8), WIDE, HALF),
        ],
        3 * 2 * 9 * 4 * 3,
        (1,),
        (1, 2),
        weight=3,
        zero=NONE,
        data_zero=128,
    ),
    "QLinearMatMul": Case(
        "QLinearMatMul",
        [steps(3, 4), STEP, HALF, steps(4, 6), *columns(6), STEP, HALF],
        3 * 4 * 6,
        (-1,),
        (-1, 4),
        weight=3,
        zero=quantized_columns(6),
        data_zero=128,
    ),
    "QLinearMatMul, A": Case(
        "QLinearMatMul",
        [steps(5, 4), STEP, HALF, steps(4, 3), STEP, HALF, STEP, HALF],
        5 * 4 * 3,
        (0,),
        (0, 4),
        weight=0,
        data=3,
        zero=HALF,
        data_zero=128,
    ),
    "ConvInteger": Case(
        "ConvInteger",
        [steps(1, 2, 6, 5), steps(3, 2, 3, 3), HALF, HALF],
        3 * 2 * 9 * 4 * 3,
        (1,),
        (1, 2),
        zero=HALF,
        data_zero=128,
    ),
    "ConvInteger without a zero point": Case(
        "ConvInteger", [steps(1, 2, 6, 5), steps(3, 2, 3, 3)], 3 * 2 * 9 * 4 * 3, (1,), (1, 2), zero=HALF * 0
    ),
    "MatMulInteger": Case(
        "MatMulInteger",
        [steps(3, 4), steps(4, 6), HALF, columns(6)[1]],
        3 * 4 * 6,
        (-1,),
        (-1, 4),
        zero=quantized_columns(6),
        data_zero=128,
    ),
    "MatMulInteger, signed": Case(
        "MatMulInteger",
        [steps(2, 3, 4), steps(4, 6, dtype=np.int8), HALF],
        2 * 3 * 4 * 6,
        (-1,),
        (-1, 4),
        zero=NONE,
        data_zero=128,
    ),
    "MatMulInteger, A": Case(
        "MatMulInteger",
        [steps(5, 4), steps(4, 3), HALF, HALF],
        5 * 4 * 3,
        (0,),
        (0, 4),
        weight=0,
        data=1,
        zero=HALF,
        data_zero=128,
    ),
}
