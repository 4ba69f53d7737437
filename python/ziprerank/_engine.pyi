from collections.abc import Sequence
from typing import Any, TypedDict

import numpy
import numpy.typing

class EngineProfile(TypedDict):
    """What an engine recorded; times are nanoseconds since the epoch."""

    stages: list[tuple[str, int, int, int]]
    """Stages in the order in which they ended: name, start, end, thread id."""
    graphs: list[tuple[str, str, int]]
    """ONNX Runtime's profiles: graph, file, start; events in the file count microseconds since the start."""

class WindowScores:
    """Result of Window.score for K pages."""

    @property
    def scores(self) -> numpy.typing.NDArray[numpy.float32]:
        """Letter logits, float32 [K], in slot order."""

    @property
    def kept(self) -> list[numpy.typing.NDArray[numpy.int64]]:
        """
        Visual tokens that pruning kept, per page: ascending indices into the page's own, int64.
        """

    @property
    def text_tokens(self) -> int:
        """Text tokens of the prompt."""

    @property
    def visual_tokens(self) -> int:
        """Visual tokens of all pages, blank ones included."""

    @property
    def blank_tokens(self) -> int:
        """Visual tokens that were dropped as blank."""

    @property
    def kept_tokens(self) -> int:
        """Visual tokens that pruning kept."""

    @property
    def layout_ms(self) -> float:
        """Milliseconds for positions, packing and the table of pool rows."""

    @property
    def encode_ms(self) -> float:
        """Milliseconds of waiting for pages that a GPU was still encoding."""

    @property
    def rerank_ms(self) -> float:
        """Milliseconds of rerank.onnx: pruning and decoder."""

class Window:
    """
    The pages of one pass, in numbered slots.

    A window reserves room in the page pool when it is opened, and keeps its pages there until it is closed.
    Its methods may be called from several threads at once.
    """

    def encode(self, slot: int, pixels: numpy.typing.NDArray[numpy.uint8]) -> bool:
        """
        Fills a slot with a page: runs vision.onnx unless the pool has the page's features.

        On a GPU the call returns once the work is enqueued; score waits for it.

        Args:
            slot: Index of the slot, from 0; each is filled once.
            pixels: RGB, uint8 [height, width, 3], C-contiguous, of the size that the window was opened with.

        Returns:
            True if the pool had the page.

        Raises:
            InvalidInput: The slot is filled or does not exist, or the page has another size.
            EngineError: The graph failed.
        """

    def find(self, slot: int, pixels: numpy.typing.NDArray[numpy.uint8]) -> bool:
        """
        Fills a slot if the pool has the page; otherwise the slot stays empty.

        Args:
            slot: Index of an empty slot.
            pixels: As encode takes them.

        Returns:
            True if the pool had the page.
        """

    def find_named(self, slot: int, name: bytes) -> bool:
        """
        Fills a slot if the pool has the page of this name; otherwise the slot stays empty.

        Args:
            slot: Index of an empty slot.
            name: What name returned in a window of the same engine and owner.

        Returns:
            True if the pool had the page.

        Raises:
            InvalidInput: The name is of a page of another size, or none.
        """

    def name(self, slot: int) -> bytes:
        """What finds the page of a filled slot again without its pixels."""

    def restore(
        self, slot: int, pixels: numpy.typing.NDArray[numpy.uint8], features: numpy.typing.NDArray[numpy.uint8]
    ) -> bool:
        """
        Fills a slot with features that were read before, where encode would run vision.onnx.

        Args:
            slot: Index of an empty slot.
            pixels: As encode takes them.
            features: uint8 [tokens(slot), info["row_bytes"]], read from the same pixels, bundle, provider and
                drop_blank; only the size is checked.

        Returns:
            True if the pool had the page.

        Raises:
            InvalidInput: As for encode, or the features have another size.
        """

    def tokens(self, slot: int) -> int:
        """Visual tokens of a filled slot that the model reads."""

    def features(self, slot: int, out: numpy.typing.NDArray[numpy.uint8]) -> None:
        """
        Copies the features of a filled slot; waits if a GPU is still encoding the page.

        Args:
            slot: Index of a filled slot.
            out: Receives them: uint8 [tokens(slot), info["row_bytes"]], C-contiguous.
        """

    def score(
        self,
        text_ids: numpy.typing.NDArray[numpy.int64],
        query_mask: numpy.typing.NDArray[numpy.bool_] | None,
        keep_ratio: float,
    ) -> WindowScores:
        """
        Scores all pages for one prompt; every slot must be filled.

        Args:
            text_ids: Token ids, int64 [n], with one image_pad token for each page in slot order.
            query_mask: bool [n], True for the text tokens that pages are pruned by; None selects every token before
                the first image_pad but the vision markers.
            keep_ratio: Share of each page's visual tokens that pruning keeps, in (0, 1].

        Raises:
            InvalidInput: A slot is empty, the prompt does not fit the window, or keep_ratio is out of range.
            EngineError: A graph failed, or a score is not finite.
        """

    def relate(self, text_ids: numpy.typing.NDArray[numpy.int64]) -> numpy.typing.NDArray[numpy.float32]:
        """
        Relates all pages to a text by late interaction; every slot must be filled.

        Args:
            text_ids: The text's token ids, int64 [n].

        Returns:
            float32 [K], in slot order: the sum over the tokens of the largest cosine of the token's embedding with one
            of the page's visual tokens.

        Raises:
            BundleError: The bundle has no relate.onnx for this provider.
            InvalidInput: A slot is empty, there is no token, or a token that does not exist.
            EngineError: The graph failed, or a value is not finite.
        """

    def cancel(self) -> None:
        """
        Ends encode, relate and score under way in other threads, without waiting for them.

        Each raises Cancelled once the operator that it is in has ended, and so does every later one that runs a graph.
        The engine and its other windows go on.
        """

    def close(self) -> None:
        """
        Gives the reservation back, once all calls under way have returned. May be called twice.
        """

class Engine:
    """A bundle's graphs on one provider, and the pool of page features."""

    def __init__(
        self,
        bundle: str,
        runtime_library: str,
        *,
        provider: str = "cpu",
        threads: int = 0,
        pool_bytes: int = 1073741824,
        profile: str = "",
        provider_library: str = "",
        cache: str = "",
        blank: str = "",
    ) -> None:
        """
        Loads ONNX Runtime and a bundle.

        Args:
            bundle: Path of the bundle's directory.
            runtime_library: Path of libonnxruntime, 1.23 or newer; one per process.
            provider: cpu, cuda, tensorrt or tensorrt-rtx, the last three also with a GPU (cuda:1); auto is cuda where
                it can run, else cpu.
            threads: Threads of one graph run on the CPU; 0 is as many as usable_cpus().
            pool_bytes: Size of the page pool.
            profile: Prefix of the profiles that ONNX Runtime writes; empty records none.
            provider_library: For tensorrt-rtx, path of libonnxruntime_providers_nv_tensorrt_rtx.
            cache: For tensorrt, folder for engines, empty for the bundle's tensorrt/; for tensorrt-rtx, folder for
                compiled kernels, empty keeps none.
            blank: drop or keep visual tokens of blank paper; empty is what the bundle recommends.

        Raises:
            ProviderError: ONNX Runtime or the provider cannot be used here.
            BundleError: The bundle is missing, damaged, or not made for this provider.
            PoolError: The pool does not fit into memory, or pool_bytes is too small.
            InvalidInput: Any other option is wrong.
        """

    def window(self, sizes: Sequence[tuple[int, int]], *, owner: str = "") -> Window:
        """
        Opens a window; waits, first come first served, while other windows fill the pool.

        Args:
            sizes: Height and width of each page in pixels, multiples of 32; at most one per letter_ids of info.
                None is a text alone, where scoring of info is yes_no.
            owner: Pages are found in the pool by windows of the same owner only.

        Raises:
            PoolError: The pages could never fit into the pool.
            InvalidInput: A size or the number of pages is wrong.
        """

    def holds(self, name: bytes) -> bool:
        """
        Returns whether the pool has a page now, by the name that a window's name gave.

        Raises:
            InvalidInput: The name is none.
        """

    def close(self) -> None:
        """
        Gives graphs, threads and memory back, once the last open window is closed too. May be called twice.

        Every other method but info then raises InvalidInput.
        """

    def end_profile(self) -> EngineProfile:
        """
        Ends the profile that the option `profile` began, and returns it. May be called once.

        Raises:
            InvalidInput: There is no profile to end.
        """

    @property
    def info(self) -> dict[str, Any]:
        """
        What the engine runs and what its bundle holds: the fields of EngineInfo in engine.hpp.
        """

    @property
    def pool(self) -> dict[str, int]:
        """
        State of the page pool: rows, used_rows and pinned_rows in visual tokens; pages; hits, misses and
        evictions since the engine was made.
        """

class DeviceCode:
    """For which GPUs a library holds code: compute capabilities, 90 for 9.0."""

    def __init__(self, machine: Sequence[int], ptx: Sequence[int]) -> None:
        """Code of these capabilities."""

    @property
    def machine(self) -> list[int]:
        """Of machine code, ascending."""

    @property
    def ptx(self) -> list[int]:
        """Of PTX, which the driver compiles for newer GPUs, ascending."""

    def runs_on(self, capability: int) -> bool:
        """
        Whether a GPU of `capability` can run some of it; True where there is none, since nothing is known then.

        Machine code runs on its own capability and on newer ones of the same major version, but on Jetson (7.2 and 8.7)
        only on its own; PTX runs on its own capability and on all newer ones.
        """

    def lack(self, capability: int, index: int) -> str:
        """
        What an onnxruntime-gpu with this code lacks for GPU `index`, and the way out; "" where it runs there.
        """

    def __str__(self) -> str:
        """ "8.0, 9.0 and PTX of 11.0"; "none"."""

def device_code(library: str) -> DeviceCode:
    """
    What a shared library holds; nothing where it cannot be read, is no 64-bit ELF file or has no code for GPUs.
    """

def library() -> str:
    """
    Path of the loaded libziprerank.so, for register_custom_ops_library of ONNX Runtime.
    """

def usable_cpus() -> int:
    """
    CPUs that this process may use, by its affinity mask and its control group's quota; at least 1.
    """
