"""把几个种子的结果说成一句话；两种方法的范围重叠，就是分不出高下。"""

from collections.abc import Callable, Sequence

from finetuning.compare.table import spread


def verdict(
    quantity: str,
    first: str,
    first_values: Sequence[float],
    second: str,
    second_values: Sequence[float],
    show: Callable[[float], str],
    words: tuple[str, str] = ("高", "低"),
) -> str:
    """两种方法，同一个量：谁高谁低，还是分不出。

    Args:
        words: 这个量大叫什么，小叫什么。

    只看范围重不重叠：种子不多时，这是最简单、也最不会说过头的规则；重叠不等于相同。
    """
    larger, smaller = words
    sentence = f"{quantity}：{first} {spread(first_values, show)} 对 {second} {spread(second_values, show)}"
    if min(first_values) > max(second_values):
        return f"{sentence} → {first} {larger}"
    if max(first_values) < min(second_values):
        return f"{sentence} → {first} {smaller}"
    return f"{sentence} → 范围重叠，分不出高下"
