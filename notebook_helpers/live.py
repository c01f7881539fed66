"""能操作的小部件，连同没有内核时看的样子。"""

from typing import Any

import ipywidgets as widgets


class Live(widgets.VBox):
    """有内核，显示小部件；存下来、打印、在网页上看，显示 ``fallback`` 这段 HTML（``store`` 存的时候会去掉小部件）。"""

    def __init__(self, children: list[widgets.Widget], fallback: str) -> None:
        super().__init__(children)
        self.fallback = fallback

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**options), "text/html": self.fallback}
