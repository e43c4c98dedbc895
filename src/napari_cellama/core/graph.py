"""Who is near whom: nearest cells and squidpy's spatial graph, section by section."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from scipy.spatial import cKDTree

from napari_cellama.core.events import CancelToken
from napari_cellama.core.threads import n_threads

#: Cells that are looked up at a time.
_CHUNK = 100_000
#: From so many queries on it pays to sort them and to start threads.
_MANY = 5_000


class NeighborIndex:
    """K-d trees over the cells that have a position, one a section, kept for many queries.

    Building one takes about a second for a million cells, a query of one cell microseconds, so
    that a click can be answered from it at once.

    Parameters
    ----------
    coords
        (n, d) coordinates; cells with a NaN among theirs have no neighbours and are nobody's.
    library
        (n,) the section each cell lies in; ``None`` for one section. A missing value (NaN, or
        the code -1 of a categorical) is a section of its own kind: such cells see each other.
    """

    def __init__(self, coords: np.ndarray, library: np.ndarray | None = None) -> None:
        self.coords = np.ascontiguousarray(coords, np.float64)
        self.has_position = np.isfinite(self.coords).all(axis=1)
        self.section = section_codes(library, len(self.coords))
        self._cells = [
            np.flatnonzero(self.has_position & (self.section == code))
            for code in range(int(self.section.max(initial=-1)) + 1)
        ]
        self._trees = [cKDTree(self.coords[cells]) if len(cells) else None for cells in self._cells]

    @property
    def section_sizes(self) -> np.ndarray:
        """How many cells with a position each section has."""
        return np.array([len(cells) for cells in self._cells], np.int64)

    def nearest(
        self,
        n_neighbors: int,
        cells: np.ndarray | None = None,
        cancel: CancelToken | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest cells of ``cells`` (all by default), never a cell itself.

        ``cancel`` is checked between chunks.

        Returns
        -------
        index
            (len(cells), n_neighbors) int64, nearest first, ties in the data's order; -1 where a
            section has no more cells.
        distance
            The same shape, float64; inf where the index is -1.
        """
        cells = np.arange(len(self.coords)) if cells is None else np.asarray(cells, np.int64)
        index = np.full((len(cells), n_neighbors), -1, np.int64)
        distance = np.full((len(cells), n_neighbors), np.inf)
        for code, members in enumerate(self._cells):
            rows = np.flatnonzero((self.section[cells] == code) & self.has_position[cells])
            if len(rows) >= _MANY:
                rows = rows[np.argsort(self._place_in_tree(code)[cells[rows]], kind="stable")]
            count = min(n_neighbors, len(members) - 1)
            for start in range(0, len(rows) if count > 0 else 0, _CHUNK):
                if cancel is not None:
                    cancel.check()
                some = rows[start : start + _CHUNK]
                found = self._nearest_in(code, cells[some], count)
                index[some, :count], distance[some, :count] = found
        return index, distance

    def _place_in_tree(self, code: int) -> np.ndarray:
        """Return (n,): where a section's cells are in its tree.

        Asked in this order, cells follow upon their neighbours, and what the tree looks at is
        still in the processor's cache: less than half the time.
        """
        place = np.zeros(len(self.coords), np.int64)
        place[self._cells[code][self._trees[code].indices]] = np.arange(len(self._cells[code]))
        return place

    def _nearest_in(self, code: int, cells: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
        """Query one section's tree for ``count`` neighbours, which exist."""
        members = self._cells[code]
        distance, local = self._trees[code].query(
            self.coords[cells], k=count + 1, workers=_workers(len(cells))
        )
        index = members[local]
        # Among cells in one place the tree may name any of them first, or leave the cell itself
        # out altogether; so it is recognised by what it is and, where it is absent, the farthest
        # of the names too many is dropped instead.
        superfluous = index == cells[:, None]
        superfluous[~superfluous.any(axis=1), -1] = True
        index = index[~superfluous].reshape(-1, count)
        distance = distance[~superfluous].reshape(-1, count)
        if (np.diff(distance, axis=1) == 0).any():
            order = np.lexsort((index, distance), axis=1)
            index = np.take_along_axis(index, order, axis=1)
            distance = np.take_along_axis(distance, order, axis=1)
        return index, distance

    def pairs_within(self, radius: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield, for every section, the (i, j) pairs of cells at most ``radius`` apart, i < j."""
        for members, tree in zip(self._cells, self._trees, strict=True):
            if tree is not None:
                pairs = tree.query_pairs(radius, output_type="ndarray")
                yield members[pairs[:, 0]], members[pairs[:, 1]]

    def count_within(self, radius: float, cells: np.ndarray) -> np.ndarray:
        """Return how many other cells lie within ``radius`` of each of ``cells``."""
        counts = np.zeros(len(cells), np.int64)
        for code, tree in enumerate(self._trees):
            rows = np.flatnonzero((self.section[cells] == code) & self.has_position[cells])
            if len(rows):
                points = self.coords[cells[rows]]
                found = tree.query_ball_point(
                    points, radius, return_length=True, workers=_workers(len(rows))
                )
                counts[rows] = found - 1
        return counts


def section_codes(library: np.ndarray | None, n_obs: int) -> np.ndarray:
    """Return (n,) int64 codes of the sections; all 0 where there is one section."""
    if library is None:
        return np.zeros(n_obs, np.int64)
    import pandas as pd

    if not isinstance(library, pd.Series | pd.Categorical):
        library = np.asarray(library)
    codes, _ = pd.factorize(library, use_na_sentinel=False)
    return codes.astype(np.int64)


def nearest_neighbors(
    coords: np.ndarray, n_neighbors: int, library: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return every cell's nearest cells within its section.

    Parameters
    ----------
    coords
        (n, d) coordinates in any unit; NaN where a cell has no position.
    n_neighbors
        How many neighbours to look for.
    library
        (n,) the section of each cell; ``None`` for one section.

    Returns
    -------
    index
        (n, n_neighbors) int64, nearest first, ties in the data's order, never the cell itself;
        -1 where a section is too small or a cell has no position.
    distance
        (n, n_neighbors) float64 in the unit of ``coords``; inf where the index is -1.
    """
    return NeighborIndex(coords, library).nearest(n_neighbors)


def spatial_graph(
    coords: np.ndarray,
    *,
    n_neighbors: int = 20,
    radius: float | None = None,
    library: np.ndarray | None = None,
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Build the spatial graph as ``squidpy.gr.spatial_neighbors`` does for generic coordinates.

    Parameters
    ----------
    coords
        (n, d) coordinates; a cell without a position has an empty row and column.
    n_neighbors
        Nearest cells a cell is joined to (directed: being near is not always mutual).
    radius
        Join all cells at most this far apart instead.
    library
        (n,) the section of each cell; the graph never joins two sections.

    Returns
    -------
    connectivities
        (n, n) float32 CSR of ones.
    distances
        (n, n) float64 CSR of the same structure. Unlike squidpy's, it keeps the zeros between
        cells in one place.
    """
    index = NeighborIndex(coords, library)
    if radius is not None:
        return radius_graph(index, radius)
    return graph_of_neighbors(*index.nearest(n_neighbors))


def graph_of_neighbors(
    index: np.ndarray, distance: np.ndarray
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Turn :func:`nearest_neighbors`' arrays into (connectivities, distances)."""
    n = len(index)
    present = index >= 0
    indptr = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    columns = index[present].astype(np.int32 if n < 2**31 else np.int64)
    distances = sp.csr_matrix((distance[present], columns, indptr), shape=(n, n))
    distances.sort_indices()
    return _ones_like(distances), distances


def radius_graph(index: NeighborIndex, radius: float) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Return (connectivities, distances) between all cells at most ``radius`` apart."""
    n = len(index.coords)
    found = list(index.pairs_within(radius))
    first = np.concatenate([pair[0] for pair in found] or [np.empty(0, np.int64)])
    second = np.concatenate([pair[1] for pair in found] or [np.empty(0, np.int64)])
    apart = np.linalg.norm(index.coords[first] - index.coords[second], axis=1)
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    distances = sp.csr_matrix((np.concatenate([apart, apart]), (rows, columns)), shape=(n, n))
    distances.sort_indices()
    return _ones_like(distances), distances


def _ones_like(distances: sp.csr_matrix) -> sp.csr_matrix:
    """Return connectivities of the same structure."""
    ones = np.ones(distances.nnz, np.float32)
    return sp.csr_matrix(
        (ones, distances.indices.copy(), distances.indptr.copy()), shape=distances.shape
    )


def row_normalized(connectivities: sp.spmatrix) -> sp.csr_matrix:
    """Give each cell and its neighbours equal weights that sum to one.

    Returns
    -------
    csr_matrix
        (n, n) float32. A cell without neighbours keeps all its weight itself.
    """
    own = sp.identity(connectivities.shape[0], np.float32, format="csr")
    joined = (connectivities.tocsr().astype(bool).astype(np.float32)).maximum(own).tocsr()
    sizes = np.diff(joined.indptr)
    joined.data = np.repeat((1 / sizes).astype(np.float32), sizes)
    return joined


def median_neighbor_distance(
    coords: np.ndarray,
    n_neighbors: int = 1,
    library: np.ndarray | None = None,
    max_cells: int = 50_000,
) -> float:
    """Return the median distance to the ``n_neighbors``-th nearest cell, in coordinate units.

    Sections of more than ``max_cells`` cells are judged by a few round windows, drawn with a
    fixed seed, so that the answer comes at once for any number of cells.

    Parameters
    ----------
    coords, n_neighbors, library
        As for :func:`nearest_neighbors`.
    max_cells
        Up to how many cells are all asked.

    Returns
    -------
    float
        NaN where no cell has that many neighbours.
    """
    found = []
    for index, asked, depth in _windows(coords, library, max_cells, 8 * (n_neighbors + 1)):
        distance = index.nearest(n_neighbors, asked)[1][:, -1]
        # Beyond its depth in the window a cell may have nearer neighbours than those in it.
        found.append(distance[np.isfinite(distance) & (distance <= depth)])
    distance = np.concatenate(found or [np.empty(0)])
    return float(np.median(distance)) if len(distance) else float("nan")


def median_neighbor_count(
    coords: np.ndarray,
    radius: float,
    library: np.ndarray | None = None,
    max_cells: int = 50_000,
) -> float:
    """Return the median number of cells within ``radius`` of a cell; NaN without cells.

    Parameters
    ----------
    coords, library, max_cells
        As for :func:`median_neighbor_distance`.
    radius
        In the unit of ``coords``.
    """
    found = []
    for index, asked, depth in _windows(coords, library, max_cells, 0, 2 * radius):
        found.append(index.count_within(radius, asked[depth >= radius][:1_000]))
    counts = np.concatenate(found or [np.empty(0)])
    return float(np.median(counts)) if len(counts) else float("nan")


def _windows(
    coords: np.ndarray,
    library: np.ndarray | None,
    max_cells: int,
    at_least: int,
    reach: float = 0.0,
) -> Iterator[tuple[NeighborIndex, np.ndarray, np.ndarray]]:
    """Yield (index, cells to ask, each one's distance to the window's edge).

    A small data set is one window without an edge. Of a large one, eight windows are yielded:
    all cells of one section around a random cell, so wide that they hold about ``at_least``
    cells (2,000 or more) and reach at least ``reach``.
    """
    coords = np.asarray(coords)
    section = section_codes(library, len(coords))
    rng = np.random.default_rng(0)
    if len(coords) <= max_cells:
        asked = np.flatnonzero(np.isfinite(coords).all(axis=1))
        if len(asked):
            yield NeighborIndex(coords, section), asked, np.full(len(asked), np.inf)
        return
    drawn = rng.choice(len(coords), min(len(coords), 20_000), replace=False)
    drawn = drawn[np.isfinite(coords[drawn]).all(axis=1)]
    share = len(drawn) / len(coords)
    for anchor in drawn[:8]:
        nearby = drawn[section[drawn] == section[anchor]]
        from_anchor = np.sort(np.linalg.norm(coords[nearby] - coords[anchor], axis=1))
        rank = int(np.ceil(max(2_000, at_least) * share)) + 1
        width = max(reach, from_anchor[min(rank, len(from_anchor) - 1)])
        inside = np.flatnonzero(np.abs(coords[:, 0] - coords[anchor, 0]) <= width)
        for axis in range(1, coords.shape[1]):
            inside = inside[np.abs(coords[inside, axis] - coords[anchor, axis]) <= width]
        inside = inside[section[inside] == section[anchor]]
        depth = width - np.abs(coords[inside] - coords[anchor]).max(axis=1)
        asked = np.flatnonzero(depth >= max(width, reach) / 2)
        yield NeighborIndex(coords[inside]), asked, depth[asked]


def _workers(n_queries: int) -> int:
    """Threads for a query: starting them costs more than a small query takes."""
    return n_threads() if n_queries >= _MANY else 1
