"""诊所：把训练一处一处地弄坏，记下看见了什么；再从看见的说出是什么病。

- 诊断（:mod:`clinic.doctor`）：纯函数，症状（:mod:`clinic.symptoms`）→ 病名。
  两个训练脚本的报告用它，``python -m clinic`` 也用它。
- 病例：弄坏的零件（:mod:`clinic.faults`）、病例的清单（:mod:`clinic.cases`）、照着训练一次（:mod:`clinic.training`）、
  逐个做完（:mod:`clinic.runs`）、写成表和图（``python -m clinic.measure``）。
"""
