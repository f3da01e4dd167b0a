"""A user's values as numbers: columns of frames, arrays, tensors and lists become float64, NaN where missing."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from titans_ts.frames.panel import Column

_INFERRED = {"decimal", "floating", "integer", "boolean", "mixed-integer-float", "empty"}  # what pandas infers for objects
_MISSING = ("NAType", "NaTType", "MaskedConstant")  # pandas.NA, pandas.NaT, numpy.ma.masked
_UNREAL = "Complex data not supported: pass real and imaginary columns"


def is_numeric(frame: Any, name: Column) -> bool:
    """Say whether a column holds numbers: also booleans, decimals, numbers kept as objects, and nothing but nulls."""
    import narwhals as nw

    column = frame.get_column(name)
    if column.dtype.is_numeric() or column.dtype == nw.Boolean:
        return True
    native = column.to_native()
    dtype = getattr(native, "dtype", getattr(native, "type", ""))
    if str(dtype) == "object":
        import pandas as pd

        kind = pd.api.types.infer_dtype(native, skipna=True)
        return kind in _INFERRED or (kind == "mixed" and all(isinstance(x, Real | Decimal) for x in native[~native.isna()]))
    if getattr(getattr(dtype, "subtype", dtype), "kind", "") in ("f", "i", "u", "b"):  # long doubles; sparse columns
        return not str(dtype).startswith("interval")
    return str(dtype).lower().startswith(("null", "decimal"))


def column_numbers(frame: Any, names: Sequence[Column]) -> np.ndarray:
    """Return columns of numbers side by side, ``(t, k)`` float64 with NaN for nulls; a value that is none is refused."""
    matrix = np.empty((len(frame), len(names)))
    for j, name in enumerate(names):
        matrix[:, j] = _numbers_of(frame.get_column(name), name)
    return matrix


def _numbers_of(column: Any, name: Column) -> np.ndarray:
    """Return one column as float64; whole numbers past 2**53 are rounded, whatever library holds them."""
    import narwhals as nw

    native = column.to_native()
    if column.implementation.is_pandas():
        if str(native.dtype) == "object":
            return each_number(native.to_numpy(), lambda k: f"in row {k[0]}, column {name!r}")
        if isinstance(native.dtype, np.dtype) or str(native.dtype).startswith("Sparse"):
            with np.errstate(over="ignore"):  # a long double past float64 is infinite, and refused as such
                return np.asarray(native).astype(np.float64)
        return np.asarray(native.to_numpy(dtype=np.float64, na_value=np.nan))
    if column.implementation.is_pyarrow():
        return np.asarray(native.cast("float64", safe=False).to_numpy())
    return np.asarray(column.cast(nw.Float64).to_numpy())


def read_array(X: Any, name: str) -> np.ndarray:
    """Return an array-like of numbers as an array of 1 or 2 axes, not yet float64."""
    if hasattr(X, "toarray"):
        raise TypeError(f"{name} is a sparse {type(X).__name__}; pass a dense array, for example {name}.toarray()")
    if type(X).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow"):
        raise TypeError(f"{name} is a {type(X).__name__}; a list must hold arrays: pass one long frame with an id column")
    array = as_array(X, name)
    if array.dtype.kind == "c":
        raise ValueError(f"{name} has dtype {array.dtype}. {_UNREAL}")
    if array.dtype.kind == "O" and array.ndim:
        array = each_number(array, lambda k: f"at {k}", name)
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise TypeError(
            f"{name} is a {type(X).__name__} of dtype {array.dtype}; expected an array of numbers, a list of such "
            "arrays, or a pandas, polars or pyarrow frame"
        )
    if array.ndim > 2:
        raise ValueError(
            f"{name} has shape {array.shape}; expected (t,) or (t, c). "
            "For several series pass a list of (t, c) arrays, for example list(X)"
        )
    for axis, word in enumerate(("sample", "feature")[: array.ndim]):
        if array.shape[axis] == 0:
            raise ValueError(f"{name} is empty: 0 {word}(s) (shape={array.shape}) while a minimum of 1 is required.")
    return array


def as_array(X: Any, name: str) -> np.ndarray:
    """Return what is no frame as an array of numpy; what a mask hides is NaN, and a tensor needs no gradient for it."""
    X = unmasked(X)
    if any(kind.__name__ == "Tensor" and kind.__module__ == "torch" for kind in type(X).__mro__):
        X = _strided(X, name)
    try:
        return np.asarray(X)
    except OverflowError:  # a whole number past float64 among fractions: keep it, so that its place can be told
        return np.asarray(X, dtype=object)
    except ValueError as error:
        raise ValueError(f"{name} is ragged; for several series pass a list of arrays, one (t,) or (t, c) each") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name} is a {type(X).__name__} that makes no array of numbers: {error}") from error


def unmasked(X: Any) -> Any:
    """Return a container with NaN for what a mask of numpy hides, in the container or in what it lists."""
    if isinstance(X, list | tuple):
        return [unmasked(one) for one in X] if any(isinstance(one, np.ma.MaskedArray) for one in X) else X
    if not isinstance(X, np.ma.MaskedArray) or X.dtype.kind not in "biufO":
        return X
    kept = X.astype(np.float64) if X.dtype.kind in "biu" else X
    return np.ma.filled(kept, np.nan)


def _strided(tensor: Any, name: str) -> Any:
    """Return a tensor of torch as numpy can read it; one without numbers, or that stores but some, is refused."""
    if tensor.device.type == "meta":
        raise TypeError(f"{name} is a Tensor on device 'meta', which holds no numbers; pass one that does")
    if str(tensor.layout) != "torch.strided":
        raise TypeError(f"{name} is a Tensor of layout {tensor.layout}; pass a dense one, for example {name}.to_dense()")
    tensor = tensor.detach().cpu()
    if tensor.is_quantized:
        return tensor.dequantize()
    shortened = tensor.is_floating_point() and str(tensor.dtype) not in ("torch.float16", "torch.float32", "torch.float64")
    return tensor.float() if shortened else tensor  # numpy has no bfloat16


def each_number(values: np.ndarray, place: Callable[[tuple[int, ...]], str], name: str = "X") -> np.ndarray:
    """Return an array of Python objects as float64; None and the like are missing, text is refused, not parsed."""
    found = np.empty(values.shape)
    for k, value in np.ndenumerate(values):
        if is_missing(value):
            found[k] = np.nan
            continue
        if isinstance(value, str | bytes):
            raise ValueError(f"{name} has the text {shown(value)} {place(k)}; convert it to numbers first")
        if isinstance(value, complex | np.complexfloating):
            raise ValueError(f"{name} has {shown(value)} {place(k)}. {_UNREAL}")
        try:
            found[k] = float(value)
        except OverflowError:
            raise ValueError(
                f"{name} has {shown(value)} {place(k)}, farther from 0 than float64 reaches (1.8e308); expected a smaller "
                "number, or NaN if missing"
            ) from None
        except (TypeError, ValueError) as error:  # numpy names the type: "argument must be a string or a real number"
            what = f"{name} has {shown(value)} {place(k)}, a {type(value).__name__} and no number: {error}"
            raise type(error)(what) from error
    return found


def is_missing(value: Any) -> bool:
    """Say whether this is None, NaN, NaT, pandas' NA or masked; Biopython's records refuse to be compared."""
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in _MISSING


def shown(value: Any) -> str:
    """Return a value as an error shows it, shortened.

    >>> shown(10**400), shown("north")
    ('1000000000000000...000000000000000000', "'north'")
    """
    return reprlib.repr(value)
