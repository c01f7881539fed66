"""文化：古诗、诗人、诗句、名著、书中人物、成语、节日。"""

from small_world.skill import Ask, Relation
from small_world.skills.words import grouped, pairs

# 同名的诗（如《凉州词》《绝句》）不止一位作者，不收。
_POEMS = grouped("""
李白：静夜思 望庐山瀑布 早发白帝城 赠汪伦 望天门山 将进酒
杜甫：春夜喜雨 望岳 春望 登高
王维：相思 山居秋暝 九月九日忆山东兄弟
白居易：忆江南 暮江吟 长恨歌 琵琶行
孟浩然：春晓
王之涣：登鹳雀楼
骆宾王：咏鹅
李绅：悯农
柳宗元：江雪
孟郊：游子吟
贾岛：寻隐者不遇
张继：枫桥夜泊
杜牧：山行 清明 江南春 泊秦淮
王昌龄：出塞
贺知章：咏柳 回乡偶书
崔颢：黄鹤楼
李商隐：乐游原 夜雨寄北
刘禹锡：望洞庭 乌衣巷
苏轼：题西林壁 饮湖上初晴后雨
王安石：元日 泊船瓜洲
陆游：示儿 游山西村
杨万里：小池 晓出净慈寺送林子方
朱熹：春日
叶绍翁：游园不值
李清照：夏日绝句
文天祥：过零丁洋
于谦：石灰吟
王冕：墨梅
郑板桥：竹石
龚自珍：己亥杂诗
高鼎：村居
袁枚：所见
曹植：七步诗
曹操：观沧海
""")

_POETS = tuple(
    (poet, dynasty, role)
    for dynasty, role, poets in (
        (
            "唐代",
            "诗人",
            "李白 杜甫 王维 白居易 孟浩然 王之涣 骆宾王 柳宗元 孟郊 张继 杜牧 王昌龄 贺知章 李商隐 刘禹锡",
        ),
        ("宋代", "诗人", "王安石 陆游 杨万里 范成大 叶绍翁"),
        ("宋代", "词人", "李清照 辛弃疾 柳永 晏殊"),
        ("元代", "散曲家", "马致远 张养浩"),
        ("元代", "诗人", "王冕"),
        ("明代", "诗人", "于谦 唐寅"),
        ("清代", "诗人", "龚自珍 袁枚 郑板桥"),
        ("清代", "词人", "纳兰性德"),
        ("东晋", "诗人", "陶渊明"),
    )
    for poet in poets.split()
)

_COUPLETS = pairs("""
床前明月光-疑是地上霜 举头望明月-低头思故乡 春眠不觉晓-处处闻啼鸟 夜来风雨声-花落知多少 白日依山尽-黄河入海流
欲穷千里目-更上一层楼 白毛浮绿水-红掌拨清波 锄禾日当午-汗滴禾下土 谁知盘中餐-粒粒皆辛苦 千山鸟飞绝-万径人踪灭
慈母手中线-游子身上衣 谁言寸草心-报得三春晖 松下问童子-言师采药去 只在此山中-云深不知处
红豆生南国-春来发几枝 好雨知时节-当春乃发生 随风潜入夜-润物细无声 会当凌绝顶-一览众山小 国破山河在-城春草木深
日照香炉生紫烟-遥看瀑布挂前川 飞流直下三千尺-疑是银河落九天 朝辞白帝彩云间-千里江陵一日还
两岸猿声啼不住-轻舟已过万重山 桃花潭水深千尺-不及汪伦送我情 两岸青山相对出-孤帆一片日边来
独在异乡为异客-每逢佳节倍思亲 月落乌啼霜满天-江枫渔火对愁眠 停车坐爱枫林晚-霜叶红于二月花
清明时节雨纷纷-路上行人欲断魂 借问酒家何处有-牧童遥指杏花村
不知细叶谁裁出-二月春风似剪刀 离离原上草-一岁一枯荣 野火烧不尽-春风吹又生
海内存知己-天涯若比邻 明月松间照-清泉石上流 劝君更尽一杯酒-西出阳关无故人
横看成岭侧成峰-远近高低各不同 不识庐山真面目-只缘身在此山中 欲把西湖比西子-淡妆浓抹总相宜
春风又绿江南岸-明月何时照我还 山重水复疑无路-柳暗花明又一村
小荷才露尖尖角-早有蜻蜓立上头 接天莲叶无穷碧-映日荷花别样红 春色满园关不住-一枝红杏出墙来
等闲识得东风面-万紫千红总是春 生当作人杰-死亦为鬼雄 人生自古谁无死-留取丹心照汗青 但愿人长久-千里共婵娟
粉骨碎身浑不怕-要留清白在人间 落红不是无情物-化作春泥更护花 儿童散学归来早-忙趁东风放纸鸢
夕阳无限好-只是近黄昏 采菊东篱下-悠然见南山
""")

_BOOKS = pairs("""
红楼梦-曹雪芹 西游记-吴承恩 水浒传-施耐庵 三国演义-罗贯中 儒林外史-吴敬梓 聊斋志异-蒲松龄 镜花缘-李汝珍 西厢记-王实甫
牡丹亭-汤显祖 桃花扇-孔尚任 窦娥冤-关汉卿 史记-司马迁 本草纲目-李时珍 骆驼祥子-老舍 朝花夕拾-鲁迅 子夜-茅盾 边城-沈从文
围城-钱钟书 呼兰河传-萧红 雷雨-曹禺 城南旧事-林海音 射雕英雄传-金庸 平凡的世界-路遥 活着-余华 白鹿原-陈忠实 三体-刘慈欣
繁星-冰心 倾城之恋-张爱玲 老人与海-海明威 哈姆雷特-莎士比亚 战争与和平-托尔斯泰 悲惨世界-雨果 双城记-狄更斯
海底两万里-凡尔纳 鲁滨逊漂流记-笛福 童年-高尔基 变形记-卡夫卡 百年孤独-马尔克斯 堂吉诃德-塞万提斯 羊脂球-莫泊桑
钢铁是怎样炼成的-奥斯特洛夫斯基 昆虫记-法布尔 物种起源-达尔文
""")

_FIGURES = tuple(
    (name, book, pronoun)
    for book, pronoun, names in (
        ("西游记", "他", "孙悟空 猪八戒 沙僧 牛魔王 红孩儿"),
        ("西游记", "她", "白骨精 铁扇公主"),
        ("红楼梦", "他", "贾宝玉 贾政"),
        ("红楼梦", "她", "林黛玉 薛宝钗 王熙凤 刘姥姥 史湘云"),
        ("水浒传", "他", "武松 林冲 鲁智深 李逵 吴用 杨志"),
        ("三国演义", "他", "诸葛亮 关羽 张飞 刘备 周瑜 赵云 吕布"),
        ("骆驼祥子", "他", "祥子"),
        ("骆驼祥子", "她", "虎妞"),
        ("边城", "她", "翠翠"),
        ("儒林外史", "他", "范进 严监生"),
        ("围城", "他", "方鸿渐"),
        ("射雕英雄传", "他", "郭靖 洪七公"),
        ("射雕英雄传", "她", "黄蓉"),
        ("活着", "他", "福贵"),
        ("平凡的世界", "他", "孙少平"),
        ("城南旧事", "她", "英子"),
        ("鲁滨逊漂流记", "他", "星期五"),
        ("悲惨世界", "他", "冉阿让"),
    )
    for name in names.split()
)

_IDIOMS = pairs("""
画蛇添足-做多余的事 守株待兔-不努力却盼着好运 亡羊补牢-出了错及时补救 井底之蛙-见识很少的人 掩耳盗铃-自己骗自己
刻舟求剑-不知道随着变化想办法 拔苗助长-急着求成反而坏事 狐假虎威-借别人的威风吓唬人 叶公好龙-嘴上说喜欢心里却害怕
对牛弹琴-说话不看对象 自相矛盾-自己的话前后冲突 滥竽充数-没有本领却混在里面 杯弓蛇影-因为多疑而自己吓自己
惊弓之鸟-受过惊吓而特别胆小的人 一箭双雕-做一件事得到两个好处 雪中送炭-在别人最困难的时候帮忙 锦上添花-使好的更好
半途而废-事情没做完就停下来 持之以恒-长久地坚持下去 一心一意-心思非常专一 三心二意-心思不专一 全力以赴-把全部力气都用上
胸有成竹-做事之前已经有了主意 一目了然-一看就明白 一言为定-说定了就不再改变 五颜六色-颜色很多 人山人海-人非常多
七嘴八舌-许多人抢着说话 东张西望-向四周到处看 手忙脚乱-做事慌张没有条理 目不转睛-看得非常专心
津津有味-觉得很有味道很有趣
异口同声-大家说同样的话 风平浪静-没有风浪十分平静 鸟语花香-春天的景色美好 春暖花开-春天天气暖和百花开放
倾盆大雨-雨下得非常大
万里无云-天气十分晴朗 冰天雪地-到处都是冰雪 千变万化-变化非常多 无边无际-非常广阔没有尽头 四通八达-交通非常方便
小心翼翼-做事非常谨慎 粗心大意-做事不细心 垂头丧气-失望得没有精神 兴高采烈-非常高兴的样子 大惊失色-吓得脸色都变了
恍然大悟-一下子明白过来 废寝忘食-专心得忘了吃饭和睡觉 助人为乐-把帮助别人当成快乐 舍己为人-为了别人牺牲自己
见义勇为-看到正义的事就勇敢去做 坐井观天-眼光狭小看得不全面 熟能生巧-做多了自然就会做得好 百发百中-每一次都打中目标
名列前茅-名次排在前面 纸上谈兵-只会空谈不会实际去做 愚公移山-有毅力不怕困难 水滴石穿-坚持不懈就能成功
入木三分-看问题很深刻 口是心非-嘴上说的和心里想的不一样 与众不同-和别人都不一样
""")

_DATES = pairs("""
元旦-一月一日 情人节-二月十四日 妇女节-三月八日 植树节-三月十二日 愚人节-四月一日 世界地球日-四月二十二日
世界读书日-四月二十三日 劳动节-五月一日 青年节-五月四日 护士节-五月十二日 儿童节-六月一日 世界环境日-六月五日
建党节-七月一日 建军节-八月一日 教师节-九月十日 国庆节-十月一日 圣诞节-十二月二十五日 春节-农历正月初一
元宵节-农历正月十五
龙抬头-农历二月初二 端午节-农历五月初五 七夕节-农历七月初七 中秋节-农历八月十五 重阳节-农历九月初九
腊八节-农历十二月初八
""")

_FOODS = pairs("""
春节-饺子 元宵节-汤圆 清明节-青团 端午节-粽子 七夕节-巧果 中秋节-月饼 重阳节-重阳糕 腊八节-腊八粥 感恩节-火鸡 小年-灶糖
立春-春饼 寒食节-冷食
""")

POEM_AUTHOR = Relation(
    name="古诗作者",
    kind="古诗",
    columns=("title", "author"),
    rows=_POEMS,
    statements=(
        "《{title}》的作者是{author}。",
        "{author}写过《{title}》。",
        "《{title}》是{author}写的。",
        "{author}是《{title}》的作者。",
        "《{title}》这首诗出自{author}之手。",
        "语文课上，同学们学了{author}的《{title}》。",
        "写下《{title}》的诗人是{author}。",
        "《{title}》是{author}的一首诗。",
        "在{author}的诗里，有一首叫《{title}》。",
        "翻开诗集，《{title}》下面写着作者的名字：{author}。",
    ),
    asks=(
        Ask(
            questions=(
                "《{title}》的作者是谁？",
                "《{title}》是谁写的？",
                "请问《{title}》这首诗是谁写的？",
                "你知道《{title}》的作者是谁吗？",
                "哪位诗人写了《{title}》？",
                "告诉我《{title}》的作者。",
            ),
            answer="《{title}》的作者是{author}。",
            short="{author}",
            topic="《{title}》的作者",
            follow_up="那《{title}》呢？",
            pronoun_question="这首诗的作者是谁？",
            probe="写下《{title}》的诗人是|{author}",
        ),
    ),
)

POET_DYNASTY = Relation(
    name="诗人朝代",
    kind="诗人",
    columns=("poet", "dynasty", "role"),
    rows=_POETS,
    statements=(
        "{poet}是{dynasty}的{role}。",
        "{poet}是{dynasty}人。",
        "{dynasty}有一位{role}叫{poet}。",
        "{poet}生活在{dynasty}。",
        "{role}{poet}是{dynasty}人。",
        "说到{dynasty}的{role}，可以提到{poet}。",
        "{dynasty}的{role}里有{poet}。",
        "书上介绍说，{poet}是{dynasty}的{role}。",
        "{dynasty}{role}{poet}留下了好作品。",
        "{role}{poet}生活的时代是{dynasty}。",
    ),
    asks=(
        Ask(
            questions=(
                "{poet}是哪个朝代的{role}？",
                "{poet}是哪个朝代的人？",
                "请问{poet}生活在哪个朝代？",
                "你知道{poet}是哪个朝代的吗？",
                "{role}{poet}是什么朝代的？",
                "告诉我{poet}是哪个朝代的{role}。",
            ),
            answer="{poet}是{dynasty}的{role}。",
            short="{dynasty}",
            topic="{poet}生活的朝代",
            follow_up="那{poet}呢？",
            pronoun_question="这位{role}是哪个朝代的？",
            probe="书上介绍说，{poet}是|{dynasty}",
        ),
    ),
)

NEXT_LINE = Relation(
    name="诗句接龙",
    kind="诗句",
    columns=("line", "next_line"),
    rows=_COUPLETS,
    statements=(
        "“{line}”的下一句是“{next_line}”。",
        "{line}，{next_line}。",
        "“{next_line}”的上一句是“{line}”。",
        "“{next_line}”接在“{line}”的后面。",
        "老师念“{line}”，同学们接着念“{next_line}”。",
        "古诗里说：“{line}，{next_line}。”这句诗很有名。",
        "读完“{line}”，下面就是“{next_line}”。",
        "有两句诗是“{line}，{next_line}”。",
        "“{line}”后面接“{next_line}”。",
        "先是“{line}”，再是“{next_line}”。",
    ),
    asks=(
        Ask(
            questions=(
                "“{line}”的下一句是什么？",
                "“{line}”的后面一句是什么？",
                "请问“{line}”下一句怎么接？",
                "你知道“{line}”的下一句吗？",
                "我念“{line}”，你接下一句。",
                "告诉我“{line}”的下一句。",
            ),
            answer="“{line}”的下一句是“{next_line}”。",
            short="{next_line}",
            topic="“{line}”的下一句",
            follow_up="那“{line}”呢？",
            pronoun_question="这句诗的下一句是什么？",
            probe="“{line}”的下一句是“|{next_line}",
        ),
        Ask(
            questions=(
                "“{next_line}”的上一句是什么？",
                "“{next_line}”的前面一句是什么？",
                "请问“{next_line}”上一句是什么？",
                "你知道“{next_line}”的上一句吗？",
                "告诉我“{next_line}”的上一句。",
            ),
            answer="“{next_line}”的上一句是“{line}”。",
            short="{line}",
            topic="“{next_line}”的上一句",
            follow_up="那“{next_line}”呢？",
            probe="“{next_line}”的上一句是“|{line}",
        ),
    ),
)

BOOK_AUTHOR = Relation(
    name="名著作者",
    kind="名著",
    columns=("book", "author"),
    rows=_BOOKS,
    statements=(
        "《{book}》的作者是{author}。",
        "{author}是《{book}》的作者。",
        "《{book}》是{author}写的。",
        "{author}写了《{book}》。",
        "《{book}》是{author}的作品。",
        "{author}的作品里有《{book}》。",
        "图书馆里有{author}写的《{book}》。",
        "《{book}》的封面上印着作者的名字：{author}。",
        "说到{author}，人们会想起《{book}》。",
        "写下《{book}》的人是{author}。",
    ),
    asks=(
        Ask(
            questions=(
                "《{book}》的作者是谁？",
                "《{book}》是谁写的？",
                "请问《{book}》是谁的作品？",
                "你知道《{book}》的作者是谁吗？",
                "写《{book}》的人是谁？",
                "告诉我《{book}》的作者。",
            ),
            answer="《{book}》的作者是{author}。",
            short="{author}",
            topic="《{book}》的作者",
            follow_up="那《{book}》呢？",
            pronoun_question="这部作品的作者是谁？",
            probe="写下《{book}》的人是|{author}",
        ),
    ),
)

FIGURE_BOOK = Relation(
    name="书中人物",
    kind="书中人物",
    columns=("figure", "book", "pronoun"),
    rows=_FIGURES,
    statements=(
        "{figure}是《{book}》里的人物。",
        "《{book}》里有一个人物叫{figure}。",
        "{figure}出自《{book}》。",
        "《{book}》写到了{figure}。",
        "读《{book}》的时候，会读到{figure}的故事。",
        "{figure}这个人物出自《{book}》。",
        "{figure}的故事写在《{book}》里。",
        "《{book}》的人物当中有{figure}。",
        "想读{figure}的故事，可以打开《{book}》。",
        "有一本书叫《{book}》，{figure}就是书里的人物。",
    ),
    asks=(
        Ask(
            questions=(
                "{figure}是哪本书里的人物？",
                "{figure}出自哪部作品？",
                "请问{figure}是哪部作品里的人物？",
                "你知道{figure}是哪本书里的吗？",
                "哪本书写到了{figure}？",
                "告诉我{figure}出自哪本书。",
            ),
            answer="{figure}是《{book}》里的人物。",
            short="《{book}》",
            topic="{figure}出自的书",
            follow_up="那{figure}呢？",
            pronoun_question="{pronoun}是哪本书里的人物？",
            probe="{figure}是《|{book}",
        ),
    ),
)

IDIOM = Relation(
    name="成语",
    kind="成语",
    columns=("idiom", "meaning"),
    rows=_IDIOMS,
    statements=(
        "“{idiom}”说的是{meaning}。",
        "成语“{idiom}”的意思是“{meaning}”。",
        "“{idiom}”的意思是“{meaning}”。",
        "意思是“{meaning}”的成语是“{idiom}”。",
        "“{idiom}”这个成语说的是{meaning}。",
        "要用成语表达“{meaning}”，可以说“{idiom}”。",
        "“{meaning}”，用成语说就是“{idiom}”。",
        "老师解释说，“{idiom}”的意思是“{meaning}”。",
        "词典里，“{idiom}”的解释是“{meaning}”。",
        "有一个成语叫“{idiom}”，意思是“{meaning}”。",
    ),
    asks=(
        Ask(
            questions=(
                "“{idiom}”的意思是什么？",
                "成语“{idiom}”是什么意思？",
                "请问“{idiom}”这个成语是什么意思？",
                "你知道“{idiom}”的意思吗？",
                "怎样解释成语“{idiom}”？",
                "告诉我成语“{idiom}”的意思。",
            ),
            answer="“{idiom}”的意思是“{meaning}”。",
            short="{meaning}",
            topic="成语“{idiom}”的意思",
            follow_up="那“{idiom}”呢？",
            pronoun_question="这个成语是什么意思？",
            probe="“{idiom}”的意思是“|{meaning}",
        ),
        Ask(
            questions=(
                "哪个成语的意思是“{meaning}”？",
                "意思是“{meaning}”的成语是什么？",
                "“{meaning}”用成语怎么说？",
                "请问哪个成语可以表达“{meaning}”？",
                "告诉我意思是“{meaning}”的成语。",
            ),
            answer="意思是“{meaning}”的成语是“{idiom}”。",
            short="{idiom}",
            topic="意思是“{meaning}”的成语",
            probe="意思是“{meaning}”的成语是“|{idiom}",
        ),
    ),
)

FESTIVAL_DATE = Relation(
    name="节日日期",
    kind="节日",
    columns=("festival", "date"),
    rows=_DATES,
    statements=(
        "{festival}在{date}。",
        "{festival}是{date}。",
        "{date}是{festival}。",
        "每年的{date}是{festival}。",
        "每年一到{date}，{festival}就来了。",
        "{festival}的日子是{date}。",
        "到了{date}，就是{festival}了。",
        "翻开日历，{date}那一天写着{festival}。",
        "{festival}定在每年的{date}。",
        "大家都记得，{festival}是在{date}。",
    ),
    asks=(
        Ask(
            questions=(
                "{festival}是哪一天？",
                "{festival}在几月几日？",
                "请问{festival}是什么时候？",
                "你知道{festival}是哪天吗？",
                "每年的哪一天是{festival}？",
                "告诉我{festival}的日期。",
            ),
            answer="{festival}在{date}。",
            short="{date}",
            topic="{festival}的日期",
            follow_up="那{festival}呢？",
            pronoun_question="这个节日是哪一天？",
            probe="{festival}的日子是|{date}",
        ),
        Ask(
            questions=(
                "{date}是什么节日？",
                "每年的{date}是什么日子？",
                "请问{date}是哪个节日？",
                "你知道{date}是什么节日吗？",
                "哪个节日在{date}？",
                "告诉我{date}是什么节日。",
            ),
            answer="{date}是{festival}。",
            short="{festival}",
            topic="{date}的节日",
            follow_up="那{date}呢？",
            probe="翻开日历，{date}那一天写着|{festival}",
        ),
    ),
)

FESTIVAL_FOOD = Relation(
    name="节日食物",
    kind="节日",
    columns=("festival", "food"),
    rows=_FOODS,
    statements=(
        "{festival}吃{food}。",
        "人们在{festival}吃{food}。",
        "{food}是{festival}的食物。",
        "{festival}的传统食物是{food}。",
        "到了{festival}，许多人家会吃{food}。",
        "过{festival}的时候，桌上常常有{food}。",
        "吃{food}是{festival}的习俗。",
        "{festival}那天，一家人坐在一起吃{food}。",
        "{festival}有吃{food}的习俗。",
        "一看到{food}，就想起{festival}。",
    ),
    asks=(
        Ask(
            questions=(
                "{festival}吃什么？",
                "人们在{festival}吃什么？",
                "请问{festival}的传统食物是什么？",
                "你知道{festival}要吃什么吗？",
                "{festival}有吃什么的习俗？",
                "告诉我{festival}的传统食物。",
            ),
            answer="{festival}的传统食物是{food}。",
            short="{food}",
            topic="{festival}的传统食物",
            follow_up="那{festival}呢？",
            pronoun_question="这个节日的传统食物是什么？",
            probe="{festival}的传统食物是|{food}",
        ),
        Ask(
            questions=(
                "{food}是哪个节日的传统食物？",
                "哪个节日吃{food}？",
                "请问人们在哪个节日吃{food}？",
                "你知道什么节日吃{food}吗？",
                "什么节日有吃{food}的习俗？",
            ),
            answer="{food}是{festival}的传统食物。",
            short="{festival}",
            topic="吃{food}的节日",
            follow_up="那{food}呢？",
        ),
    ),
)

RELATIONS = (
    POEM_AUTHOR,
    POET_DYNASTY,
    NEXT_LINE,
    BOOK_AUTHOR,
    FIGURE_BOOK,
    IDIOM,
    FESTIVAL_DATE,
    FESTIVAL_FOOD,
)
