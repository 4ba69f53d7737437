"""How pages become the model's pixels: ``preprocessor_config.json`` of a checkpoint, as far as it is used, checked."""

from __future__ import annotations

from dataclasses import dataclass

from ziprerank.strict_json import Fields

MOST_PIXELS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Processor:
    """What a checkpoint's image processor does.

    Attributes:
        patch_size: Side of a patch in pixels.
        merge_size: Patches along each side of a visual token.
        min_pixels: Smallest area of a page.
        max_pixels: Largest area of a page.
        mean: What is subtracted from each channel, of values in [0, 1].
        std: By what each channel is divided then.
    """

    patch_size: int
    merge_size: int
    min_pixels: int
    max_pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @staticmethod
    def parse(fields: Fields) -> Processor:
        """Reads the content of ``preprocessor_config.json``.

        Raises:
            CheckpointError: A value is missing or out of range, or asks for what the graphs do not compute. Nothing is
                filled in: the defaults of transformers' class are those of another model.
        """
        size = fields.object("size")
        processor = Processor(
            patch_size=fields.whole("patch_size", 1, 1024),
            merge_size=fields.whole("merge_size", 1, 64),
            min_pixels=size.whole("shortest_edge", 1, MOST_PIXELS),
            max_pixels=size.whole("longest_edge", 1, MOST_PIXELS),
            mean=tuple(fields.numbers("image_mean", (3, 3), -1e3, 1e3)),
            std=tuple(fields.numbers("image_std", (3, 3), 1e-6, 1e3)),
        )
        if processor.max_pixels < processor.min_pixels:
            size.refuse("longest_edge", f"is {processor.max_pixels}, below shortest_edge, {processor.min_pixels}")
        factor = fields.number("rescale_factor", 0, 1, 1 / 255)
        if abs(factor * 255 - 1) > 1e-6:
            fields.refuse("rescale_factor", f"is {factor:g}: the export implements 1/255")
        return processor
