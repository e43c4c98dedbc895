"""Outlines as pixels: every level shows the same cells, where shapely says they are."""

from __future__ import annotations

import numpy as np
import shapely

from napari_cellama.core.boundaries import Boundaries
from napari_cellama.core.boundary_raster import TILE, BoundaryRaster, fill


def cells(n: int = 400, seed: int = 0) -> Boundaries:
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n)))
    middles = np.stack(np.divmod(np.arange(n), side)[::-1], axis=1) * 12.0 + 1000
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    radii = rng.uniform(4, 5.5, (n, 14))
    ring = radii[..., None] * np.column_stack([np.cos(turn), np.sin(turn)])
    vertices = (middles[:, None] + ring).reshape(-1, 2)
    rows = np.where(np.arange(n) % 50 == 7, -1, np.arange(n))  # some have none
    return Boundaries.from_rings(vertices, np.arange(n + 1) * 14, rows, n)


def drawn(raster: BoundaryRaster) -> BoundaryRaster:
    shares = list(raster.draw_overview())
    assert shares[-1] == 1
    return raster


def under(raster: BoundaryRaster, level: int, xy: np.ndarray) -> np.ndarray:
    """Return the codes at positions, from tiles."""
    pixel = raster.pixel * 2**level
    column, row = np.floor((xy - raster.origin) / pixel).astype(int).T
    codes = np.empty(len(xy), int)
    tiles: dict[tuple[int, int], np.ndarray] = {}
    for i, (r, c) in enumerate(zip(row, column, strict=True)):
        key = (r // TILE, c // TILE)
        if key not in tiles:
            tiles[key] = raster.tile(level, *key)
        codes[i] = tiles[key][r % TILE, c % TILE]
    return codes


def test_pixels_are_the_cells_that_lie_there_on_every_level():
    boundaries = cells()
    raster = drawn(BoundaryRaster(boundaries))
    assert raster.overview.dtype == np.int32
    polygons = [shapely.Polygon(p) if len(p) else None for p in boundaries.polygons(np.arange(400))]
    some = np.flatnonzero(boundaries.has_outline)
    rng = np.random.default_rng(1)
    low, high = np.nanmin(boundaries.boxes, axis=0)[:2], np.nanmax(boundaries.boxes, axis=0)[2:]
    xy = rng.uniform(low, high, (300, 2))
    tree = shapely.STRtree([polygons[i] for i in some])
    point, found = tree.query(shapely.points(xy), predicate="within")
    owner = np.full(len(xy), -1)
    owner[point] = some[found]
    border = shapely.union_all([polygons[i].exterior for i in some])
    away = shapely.distance(shapely.points(xy), border)
    for level in range(len(raster.shapes)):
        # Pixels that a border runs through are either's.
        clear = away > 1.5 * raster.pixel * 2**level
        codes = under(raster, level, xy[clear])
        np.testing.assert_array_equal(np.where(codes > 0, codes // 2 - 1, -1), owner[clear])
    assert clear.any()


def test_edges_lie_inside_their_cells_and_only_where_cells_are_wide_enough():
    raster = drawn(BoundaryRaster(cells()))
    fine = raster.tile(2, 1, 1)
    edge = (fine % 2 == 1) & (fine > 0)
    assert 0.05 < edge.sum() / (fine > 0).sum() < 0.4
    padded = np.pad(fine, 4, mode="edge") // 2
    for r, c in np.argwhere(edge)[::97]:
        around = padded[r + 1 : r + 8, c + 1 : c + 8]
        assert (around != fine[r, c] // 2).any()
    small = raster.tile(raster.overview_level, 0, 0)
    assert (small % 2 == 0).all()
    part = raster.coarse(raster.overview_level, slice(0, 40), slice(10, 30))
    np.testing.assert_array_equal(part, small[:40, 10:30])
    upper = raster.coarse(raster.overview_level - 1, slice(0, 8), slice(0, 8))
    np.testing.assert_array_equal(upper, np.kron(small[:4, :4], np.ones((2, 2), int)))


def test_a_region_much_larger_than_cells_is_drawn_in_every_tile_it_reaches():
    small = cells(100)
    huge = np.array([[900, 900], [3000, 900], [3000, 3000], [900, 3000]], float)
    vertices = np.concatenate([small.vertices, huge])
    offsets = np.append(small.offsets, small.offsets[-1] + 4)
    raster = drawn(BoundaryRaster(Boundaries(vertices.astype(np.float32), offsets)))
    codes = under(raster, 3, np.array([[2500.0, 2500.0], [950.0, 2900.0]]))
    np.testing.assert_array_equal(codes, 2 + 2 * 100)


def test_one_cell_alone():
    one = Boundaries.from_rings(
        np.array([[0, 0], [3, 0], [0, 3.0]]), np.array([0, 3]), np.zeros(1, int), 1
    )
    raster = drawn(BoundaryRaster(one))
    assert len(raster.shapes) >= 1
    assert (raster.overview > 0).any()


def test_cells_too_thin_for_a_pixels_middle_are_still_there_and_the_last_of_two_is_on_top():
    tiny = [[4.1, 2.2], [4.3, 2.2], [4.2, 2.4]]
    off = [[-3.0, 1.0], [-2.9, 1.0], [-2.9, 1.1]]
    low, high = ([[x, 4], [x + 3, 4], [x + 3, 7], [x, 7]] for x in (0.0, 1.0))
    corners = np.array([*tiny, *off, *low, *high], float)
    picture = fill(corners, np.array([0, 3, 6, 10, 14]), np.array([2, 4, 6, 8]), (8, 6))
    wanted = np.zeros((8, 6), int)
    wanted[2, 4] = 2
    wanted[4:7, 0] = 6
    wanted[4:7, 1:4] = 8
    np.testing.assert_array_equal(picture, wanted)
    empty = fill(np.empty((0, 2)), np.array([0]), np.empty(0, int), (3, 2))
    assert empty.shape == (3, 2)
    assert not empty.any()
