"""The outlines of the regions of a label image, traced along the borders of their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from napari_cellama.core.boundaries import Boundaries

if TYPE_CHECKING:
    from napari_cellama.core.section_image import SectionImage

#: Pixels along a tile's side.
_TILE = 2048
#: What is wider or higher, in pixels, is a region of the tissue and no cell.
_LARGEST = 4096
#: Where the middle of a pixel's top, right, bottom and left side lies, (x, y), from its corner.
_MIDDLES = np.array([[0.5, 0.0], [1.0, 0.5], [0.5, 1.0], [0.0, 0.5]])
#: (row, column) of the pixels beyond each side, and ahead when going clockwise along it.
_BEYOND = ((-1, 0), (0, 1), (1, 0), (0, -1))
_AHEAD = ((0, 1), (1, 0), (0, -1), (-1, 0))


def boundaries_of_labels(
    image: SectionImage, rows_of: Callable[[np.ndarray], np.ndarray], n_obs: int
) -> Boundaries:
    """Trace the cells of a label image, which is read tile by tile.

    Parameters
    ----------
    image
        Whose finest level holds a whole number for each cell, and 0 beside them.
    rows_of
        Returns whose region each of (k,) numbers is: (k,) rows, -1 for nobody's.
    n_obs
        The number of cells.
    """
    to_world = np.linalg.inv(np.vstack([image.to_pixels, [0, 0, 1]]))[:2]
    vertices, lengths, rows = [np.empty((0, 2))], [np.empty(0, int)], [np.empty(0, int)]
    for labels, corner, wanted in _regions(image):
        found, offsets, ids = trace(np.where(np.isin(labels, wanted), labels, 0))
        vertices.append((found + corner[::-1]) @ to_world[:, :2].T + to_world[:, 2])
        lengths.append(np.diff(offsets))
        rows.append(rows_of(ids))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return Boundaries.from_rings(np.concatenate(vertices), offsets, np.concatenate(rows), n_obs)


def trace(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trace the regions of an image in memory.

    Parameters
    ----------
    labels
        (height, width) whole numbers; 0 is no region.

    Returns
    -------
    vertices
        (v, 2) x and y in pixels, the image's corner being (0, 0). An outline goes through the
        middles of the pixels' sides, so that steps become slopes.
    offsets
        (k + 1,) where the outlines begin and end.
    ids
        (k,) whose they are. Of a region in several parts the largest counts; holes are filled.
    """
    pixels, sides, following, ids = _sides(labels)
    width = labels.shape[1]
    row, column = np.divmod(pixels, width)
    middles = np.column_stack([column, row]) + _MIDDLES[sides]
    starts, lengths = _largest_cycles(middles, following, ids)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    order = np.empty(offsets[-1], np.int64)
    # All outlines are walked at once, one side a step.
    step, walking, at = 0, np.arange(len(starts)), starts.copy()
    while len(walking):
        order[offsets[walking] + step] = at
        step += 1
        on = lengths[walking] > step
        walking, at = walking[on], following[at[on]]
    vertices, offsets = _without_straight(middles[order], offsets)
    return vertices, offsets, ids[starts]


def _sides(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixel, the side, the following one and the region of every border's side.

    Going clockwise around a region, from one pixel's side follows: its next side, where what lies
    ahead is another region; the same side of the pixel ahead; or a side of the pixel that lies
    ahead and beyond, where the border turns outwards.
    """
    padded = np.pad(labels, 1)
    stride = padded.shape[1]
    flat = padded.ravel()
    inside = np.flatnonzero(flat)
    number = np.full((4, flat.size), -1, np.int32)
    found, ahead, diagonal = [], [], []
    for side in range(4):
        beyond = _BEYOND[side][0] * stride + _BEYOND[side][1]
        step = _AHEAD[side][0] * stride + _AHEAD[side][1]
        border = inside[flat[inside] != flat[inside + beyond]]
        number[side, border] = np.arange(len(border)) + sum(map(len, found))
        found.append(border)
        ahead.append(border + step)
        diagonal.append(border + step + beyond)
    following = []
    for side in range(4):
        own, ahead_, diagonal_ = flat[found[side]], ahead[side], diagonal[side]
        turned = number[(side + 1) % 4, found[side]]
        straight = number[side, ahead_]
        outwards = number[(side + 3) % 4, diagonal_]
        goes_on = flat[ahead_] == own
        opens = goes_on & (flat[diagonal_] == own)
        following.append(np.where(opens, outwards, np.where(goes_on, straight, turned)))
    pixels = np.concatenate(found)
    sides = np.repeat(np.arange(4), [len(border) for border in found])
    row, column = np.divmod(pixels, stride)
    own_pixels = (row - 1) * labels.shape[1] + column - 1
    return own_pixels, sides, np.concatenate(following).astype(np.int64), flat[pixels]


def _largest_cycles(
    middles: np.ndarray, following: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first side and the number of sides of each region's largest outline."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(ids)
    if not n:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    links = coo_matrix((np.ones(n, bool), (np.arange(n), following)), shape=(n, n))
    n_cycles, cycle = connected_components(links, directed=False)
    lengths = np.bincount(cycle, minlength=n_cycles)
    first = np.empty(n_cycles, np.int64)
    first[cycle[::-1]] = np.arange(n)[::-1]
    local = middles - middles[first][cycle]
    after = local[following]
    cross = local[:, 0] * after[:, 1] - after[:, 0] * local[:, 1]
    area = np.bincount(cycle, weights=cross, minlength=n_cycles)  # of holes it is negative
    order = np.lexsort((area, ids[first]))
    last = np.append(np.diff(ids[first][order]) != 0, True)
    chosen = order[last]
    return first[chosen], lengths[chosen]


def _without_straight(vertices: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out corners that lie on the line between their neighbours."""
    index = np.arange(len(vertices))
    before, after = index - 1, index + 1
    before[offsets[:-1]] = offsets[1:] - 1
    after[offsets[1:] - 1] = offsets[:-1]
    to, on = vertices - vertices[before], vertices[after] - vertices
    kept = to[:, 0] * on[:, 1] != to[:, 1] * on[:, 0]
    return vertices[kept], np.concatenate([[0], np.cumsum(kept)])[offsets]


def _regions(image: SectionImage) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield parts of a label image: its pixels, its (row, column), and the cells whole in it.

    Every cell is in one part: that of the tile in which its box begins.
    """
    ids, boxes = _boxes(image)
    cells = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) <= _LARGEST
    ids, boxes = ids[cells], boxes[cells]
    tile = boxes[:, 0] // _TILE * (image.shape[1] // _TILE + 1) + boxes[:, 1] // _TILE
    order = np.argsort(tile, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(tile[order])) + 1):
        if len(members):
            top, left = boxes[members, :2].min(axis=0)
            bottom, right = boxes[members, 2:].max(axis=0)
            labels = image.read(slice(top, bottom), slice(left, right))[..., 0]
            yield labels, np.array([top, left]), ids[members]


def _boxes(image: SectionImage) -> tuple[np.ndarray, np.ndarray]:
    """Return the regions' (k,) numbers and (k, 4) boxes: top, left, bottom and right."""
    import pandas as pd
    from scipy.ndimage import find_objects

    ids, boxes = [np.empty(0, np.int64)], [np.empty((0, 4), np.int64)]
    for top in range(0, image.shape[0], _TILE):
        for left in range(0, image.shape[1], _TILE):
            labels = image.read(slice(top, top + _TILE), slice(left, left + _TILE))[..., 0]
            codes, found = pd.factorize(labels.ravel())
            parts = find_objects(codes.reshape(labels.shape) + 1)
            ids.append(np.asarray(found, np.int64))
            box = np.array([(r.start, c.start, r.stop, c.stop) for r, c in parts], np.int64)
            boxes.append(box + np.array([top, left, top, left]))
    found, of = np.unique(np.concatenate(ids), return_inverse=True)
    parts = np.concatenate(boxes)
    box = np.empty((len(found), 4), np.int64)
    box[:, :2], box[:, 2:] = np.iinfo(np.int64).max, -1
    np.minimum.at(box[:, :2], of, parts[:, :2])
    np.maximum.at(box[:, 2:], of, parts[:, 2:])
    return found[found != 0], box[found != 0]
