"""Looking into a model's file before its runtime reads it: runtimes trust what a file says of itself. Imports nothing heavy."""

import math
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from . import reading

MAX_GRAPH = 100_000_000  # bytes of a SavedModel's graph, which has no weights in it
MAX_LITERT = 2**31  # bytes of a `.tflite` file, as flatbuffers are at most
MAX_ELEMENTS = 500_000_000  # of all tensors of a `.tflite` file
_MEMBERS = {"metadata.json", "config.json", "model.weights.h5", "progress.npz"}  # the last one is of `checkpoint.py`
_WEIGHTS = "model.weights.h5"
_MAX_LINKS = 100_000  # groups and arrays of weights; ours have hundreds
_SAVED = {"saved_model.pb", "fingerprint.pb", "variables", "assets"}
# What TensorFlow makes of Keras' layers: arithmetic, and calls and variables of the model itself.
_OPERATIONS = (  # noqa: SIM905
    "Abs AddN AddV2 ArgMax AvgPool BatchMatMulV2 BiasAdd BroadcastTo Cast ConcatV2 Const Conv2D DepthwiseConv2dNative Einsum Elu Equal "
    "Erf Exp ExpandDims Fill Floor FloorDiv FloorMod FusedBatchNormV3 GatherNd GatherV2 Greater GreaterEqual Identity IdentityN LeakyRelu "
    "Less LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool Maximum Mean Min Minimum MirrorPad Mul Neg "
    "NoOp OnesLike Pack Pad PadV2 PartitionedCall Placeholder Pow PreventGradient Prod Range ReadVariableOp RealDiv Reciprocal Relu Relu6 "
    "Reshape ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt Select SelectV2 Selu Shape Sigmoid Slice Softmax Softplus Softsign "
    "SpaceToBatchND BatchToSpaceND Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StopGradient StridedSlice "
    "Sub Sum Tanh Tile Transpose Unpack ZerosLike"
).split()
_BUILTIN = (  # noqa: SIM905
    "ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND CAST CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EQUAL "
    "EXP EXPAND_DIMS FLOOR FULLY_CONNECTED GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND "
    "LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG PACK PAD PADV2 POW PRELU QUANTIZE "
    "REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SELECT SELECT_V2 SHAPE "
    "SLICE SOFTMAX SPACE_TO_BATCH_ND SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE "
    "UNPACK"
).split()


def check_keras(file: Path) -> None:
    """Refuses a `.keras` file that is not as Keras writes it.

    Keras stores its three members as they are, and each array of the weights in one piece. Anything else unfolds to more than
    the file holds, or leads out of it: HDF5 follows links to other files.

    Raises:
        Exception: it is damaged or crafted; zipfile and h5py raise many kinds.
    """
    import h5py

    check_stored(file)
    with zipfile.ZipFile(file) as archive:
        if strange := set(archive.namelist()) - _MEMBERS:
            raise ValueError(f"a member '{min(strange)}', which Keras does not write")
        with archive.open(_WEIGHTS) as stream, h5py.File(stream) as weights:
            _check_weights(weights)


def check_stored(file: Path | IO[bytes]) -> None:
    """Refuses a zip of which a member unfolds to more than it takes, as no `.keras` or `.npz` file does, or is damaged.

    Raises:
        Exception: it is none, damaged or crafted; zipfile raises many kinds.
    """
    if isinstance(file, Path) and file.exists() and not file.is_file():
        raise ValueError("a folder, a pipe or a device")
    with zipfile.ZipFile(file) as archive:
        size = archive.fp.seek(0, os.SEEK_END)
        members = archive.infolist()
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if packed or sum(member.file_size for member in members) > size:
            raise ValueError("packed members")
        for member in members:
            with archive.open(member) as stream:  # to its end, where its checksum is looked at
                while stream.read(1 << 20):
                    pass


def _check_weights(weights) -> None:
    import h5py

    left = iter(range(_MAX_LINKS))

    def fault(name, link):  # the first one ends the visit; what is raised in it gets lost
        if next(left, None) is None:
            return f"more than {_MAX_LINKS:,} parts"
        if not isinstance(link, h5py.HardLink):
            return f"a link at '{name}'"
        array = weights[name]
        if not isinstance(array, h5py.Dataset):
            return None
        elsewhere = array.external or array.is_virtual or array.dtype.kind not in "fiub"
        inside = not elsewhere and math.prod(array.shape) * array.dtype.itemsize <= array.id.get_storage_size()
        return None if inside else f"values of '{name}' that are not in the file"

    if found := weights.visititems_links(fault):
        raise ValueError(f"weights with {found}")


def check_saved_model(folder: Path) -> None:
    """Refuses a SavedModel of which something lies elsewhere, or which asks for operations that no network here is made of.

    A SavedModel is a program, and TensorFlow has operations that read and write any file. Those that read and write its own weights
    stand in functions that nothing calls, as TensorFlow reads weights by itself.

    Raises:
        Exception: it is damaged or crafted; protobuf raises its own.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    for file in folder.rglob("*"):
        if reading.leads_out(file, folder):
            raise ValueError(f"{file.name} leads out of it")
    if strange := {file.name for file in folder.iterdir()} - _SAVED:
        raise ValueError(f"a file '{min(strange)}', which an export does not write")
    content = saved_model_pb2.SavedModel()
    content.ParseFromString(reading.read_bytes(folder / "saved_model.pb", MAX_GRAPH))
    for graph in content.meta_graphs:
        if not graph.HasField("object_graph_def"):
            raise ValueError("a graph of TensorFlow 1")
        functions = graph.graph_def.library.function
        names = {function.signature.name for function in functions}
        called = {name for function in functions for node in function.node_def for name in _functions_in(node)}
        called |= set(graph.object_graph_def.concrete_functions)
        for function in functions:
            asked = {node.op for node in function.node_def}.difference(_OPERATIONS, names)
            if function.signature.name in called and asked:
                raise ValueError(f"an operation {min(asked)}")


def _functions_in(node) -> list[str]:
    """The functions that an operation of a graph calls."""
    named = [node.op]
    for value in node.attr.values():
        named += [value.func.name, *(function.name for function in value.list.func)]
    return named


def check_litert(model: bytes) -> None:
    """Refuses a `.tflite` file with operations that no network here is made of, such as loops, or with maps larger than any memory.

    Raises:
        Exception: it is damaged or crafted; flatbuffers raises many kinds.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = schema.Model.GetRootAs(model)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    for i in range(content.OperatorCodesLength()):
        code = content.OperatorCodes(i)
        name = names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "of no name")
        if name not in _BUILTIN:
            raise ValueError(f"an operation {name}")
    for graph in map(content.Subgraphs, range(content.SubgraphsLength())):
        check_sizes(_shape(graph.Tensors(i)) for i in range(graph.TensorsLength()))


def _shape(tensor) -> list[int]:
    return tensor.ShapeAsNumpy().tolist() if tensor.ShapeLength() else []


def check_sizes(shapes: Iterable[Iterable[int]]) -> None:
    """Refuses tensors of these shapes if they have more than `MAX_ELEMENTS` numbers together.

    Raises:
        ValueError: they have.
    """
    count = sum(math.prod(max(1, int(side)) for side in shape) for shape in shapes)
    if count > MAX_ELEMENTS:
        raise ValueError(f"maps and weights of {count:.1e} numbers")
