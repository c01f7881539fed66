"""训练之前，看一看数据（``inspect_data.py``）。数据怎样流过，从这里读起::

各个文件
   │   examine.py      照训练的读法读出来，坏行记下理由；一次看完，交出报告的内容
   ▼
一段段对话
   │   survey.py       一段一段地看：数一数，存到磁盘上，内存里只留指纹
   │   lengths.py      多少 token，学多少：与训练由同样的代码得到
   │   content.py      内容里不该有的；personal.py：个人信息，只数不显示
   ▼
看完以后
   │   overlap.py      谁与谁重复、矛盾，检验数据里也有；likeness.py：像不像
   │   findings.py     各件事：有多少、例子在哪里、怎么办；结论
   │   samples.py      几段对话照模型看到的样子；重复得多的回答
   ▼
report.py（终端）、page.py（网页）、cleaning.py（干净的数据），由 publishing.py 写出
"""
