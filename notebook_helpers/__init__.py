"""``tutorial.ipynb`` 的帮手：画图、上色、检查环境、接上学习者的练习。

教程要讲的东西（掩码、训练循环、LoRA）都写在 notebook 里，这里只有会分散注意力的部分。
"""

from IPython.core.interactiveshell import InteractiveShell


def load_ipython_extension(shell: InteractiveShell) -> None:
    """``%load_ext notebook_helpers``：登记 ``%%needs``。"""
    from notebook_helpers.exercises import register_needs

    register_needs(shell)
