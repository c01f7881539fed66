"""日常小短文：天气、学校、做饭、买东西、散步、宠物、四季、书信和小故事，用来练语感。"""

import random
from dataclasses import dataclass

from small_world.skills import wordlists as words


@dataclass(frozen=True)
class Theme:
    """一类短文：开头一句，中间按顺序挑几句，结尾一句或没有；``{列名}`` 是空位。"""

    openings: tuple[str, ...]
    middles: tuple[str, ...]
    endings: tuple[str, ...]


_SUNNY = Theme(
    (
        "今天天气真好，适合出去玩。",
        "今天天气晴朗，{a}想去{place}{act}。",
        "今天天气很好，太阳暖暖的，风也不大。",
        "今天天气不错，{a}约{b}去{place}{act}。",
        "今天天气真好，适合出游，{place}里人很多。",
        "今天是个大晴天，{a}一早就起床了。",
        "今天阳光很好，{a}和{b}都不想待在家里。",
        "今天天气真好，蓝蓝的天上飘着几朵白云。",
        "今天天气暖和，{a}脱下了厚厚的大衣。",
        "今天的天气特别好，适合到{place}{act}。",
        "天亮了，太阳出来了，又是一个好天气。",
        "雨停了，天上出现了一道彩虹。",
        "这几天一直是晴天，{a}心里很高兴。",
    ),
    (
        "{a}吃过早饭，带上{bag}，高高兴兴地出了门。",
        "{a}对{b}说：“我们去{place}{act}吧。”{b}马上答应了。",
        "{a}和{b}一起在{place}{act}，玩得很开心。",
        "路上，{a}遇到了{elder}，{a}说：“{elder}好！”",
        "中午，{a}拿出{food}，分给{b}一半。{b}说：“谢谢{a}，{food}真好吃。”",
    ),
    (
        "太阳下山的时候，{a}才回家。",
        "{a}说：“今天真开心。”",
        "{a}和{b}约好下次再来。",
        "这一天，{a}过得很愉快。",
    ),
)
_RAIN = Theme(
    (
        "今天下雨了，{a}没有出门。",
        "今天天气不好，外面又刮风又下雨。",
        "今天有点冷，{a}多穿了一件毛衣。",
        "今天早上下了一场大雪，到处都是白的。",
        "今天天气阴沉沉的，看样子要下雨了。",
        "外面下着小雨，街上的人都打着伞。",
        "昨天夜里下了一场大雨，今天早上地上还是湿的。",
        "起风了，天越来越暗。",
    ),
    (
        "{a}坐在窗边，看着外面的天。",
        "{a}在家里看书，{b}在家里写信。",
        "{elder}对{a}说：“{a}，外面冷，多穿点衣服。”{a}点点头，又把门窗都关好了。",
        "妈妈煮了一锅热汤，{a}喝了两碗。",
        "{a}给{b}打电话，说今天不去{place}了。",
    ),
    (
        "到了晚上，天终于放晴了。",
        "{a}希望明天是个好天气。",
        "屋子里暖暖的，{a}觉得很舒服。",
        "{a}说：“等天晴了，我要去{place}{act}。”",
    ),
)
_SCHOOL = Theme(
    (
        "今天是开学的第一天，{a}早早地来到学校。",
        "今天语文课上，老师教大家写作文。",
        "星期三轮到{a}和{b}值日。",
        "{a}是{town}小学的学生。",
        "上课铃响了，同学们都坐好了。",
        "下课以后，{a}和{b}跑到操场上。",
        "{a}的同桌叫{b}。",
        "班里来了一位新同学，名字叫{a}。",
        "放学了，{a}背起书包往家走。",
    ),
    (
        "老师点名：“{a}。”{a}大声回答：“到！”",
        "{a}上课很认真，每次都把作业写得整整齐齐。",
        "{a}忘了带{tool}，{b}把自己的{tool}借给{a}。{a}说：“谢谢{b}。”{b}说：“不用谢。”",
        "{b}遇到了难题，{a}耐心地给{b}讲了一遍。",
        "课间，{a}和{b}一起玩，笑声不断。",
        "老师表扬了{a}，也表扬了{b}。",
    ),
    (
        "{a}和{b}成了好朋友。",
        "{a}很喜欢自己的学校。",
        "回到家，{a}把学校里的事讲给妈妈听。",
        "{a}决心好好学习，天天进步。",
    ),
)
_COOKING = Theme(
    (
        "今天{a}学做{dish}。",
        "周末，{a}在家里做饭。",
        "{a}最爱吃妈妈做的{dish}。",
        "快到中午了，厨房里飘出一阵香味。",
        "{elder}要来做客，{a}一家忙着做饭。",
        "{a}会做{dish}，{b}会做汤。",
        "过年了，全家人一起包饺子。",
    ),
    (
        "{a}先把菜洗干净，再把菜切好。",
        "{b}在旁边帮忙，一会儿拿盘子，一会儿拿碗。",
        "水开了，{a}往锅里放了一点盐。",
        "饭做好了，{a}叫{b}来吃饭。",
        "{b}尝了一口，说：“{a}做的{dish}真香。”",
        "吃完饭，{b}洗碗，{a}擦桌子。",
    ),
    (
        "大家吃得很饱，都夸{a}能干。",
        "{a}高兴地说：“明天我还做{dish}。”",
        "一家人有说有笑，非常热闹。",
        "{a}把做{dish}的方法写在了本子上。",
    ),
)
_SHOPPING = Theme(
    (
        "上午，{a}去{shop}买东西。",
        "家里没有{good}了，{a}去{shop}买{good}。",
        "{b}快要过生日了，{a}想给{b}买一份礼物。",
        "{shop}开门了，门口排起了队。",
        "{a}拿着妈妈给的钱，来到{shop}。",
        "镇上新开了一家{shop}，{a}和{b}都想去看看。",
        "{a}在{shop}门口遇到了{b}。",
    ),
    (
        "{shop}里的东西真多，{a}看了又看。",
        "{a}挑了{goods}，走到柜台前付了钱。",
        "店员把{good}装好，对{a}说：“欢迎下次再来。”",
        "{a}对{b}说：“你看，这是我买的{good}。”{b}说：“这{good}真不错，我也想买。”",
    ),
    (
        "{a}提着{good}，高高兴兴地回家了。",
        "{a}觉得这次买的{good}又便宜又好。",
        "妈妈看见{good}，笑着说：“{a}真懂事。”",
    ),
)
_WALK = Theme(
    (
        "傍晚，{a}陪{elder}在{town}散步。",
        "吃过晚饭，{a}一个人出去散步。",
        "早上的空气真新鲜，{a}沿着河边慢慢走。",
        "{town}有一条小河，河水清清的。",
        "星期天，{a}一家到{town}去玩。",
        "从{town}出发，走半个小时就到山下了。",
    ),
    (
        "路两边种着高高的树，树上有几只小鸟在唱歌。",
        "{a}在路上遇到了{b}。{b}问候{a}，{a}也问候{b}。",
        "走累了，{a}就坐在石头上休息一会儿。",
        "{a}拿出相机，给{town}拍了很多照片。",
        "一阵风吹来，带着花的香味。",
        "远处的山一座连着一座，好看极了。",
    ),
    (
        "走了很久，{a}才回家。",
        "{a}说：“{town}真美。”",
        "{a}打算下个月再到{town}来。",
    ),
)
_PET = Theme(
    (
        "{a}养了一{measure}{pet}，名叫{petname}。",
        "{a}家有一{measure}{pet}，大家都叫它{petname}。",
        "今天早上，{a}带着自己的{pet}{petname}出了门。",
        "{petname}是{a}的{pet}，今年三岁了。",
        "生日那天，{b}送给{a}一{measure}{pet}，{a}给它取名{petname}。",
        "{petname}是一{measure}可爱的{pet}。",
        "{a}每天放学回家，都要先去看看自己的{pet}{petname}。",
    ),
    (
        "{petname}是{fur}的，眼睛又大又亮。",
        "每天早上，{a}都给{petname}喂食。",
        "{a}叫一声“{petname}”，{petname}就跑过来了。",
        "有一次，{petname}跑到{b}家去了，{b}把{petname}送了回来。",
        "{b}说：“{a}，你的{petname}真聪明。”",
        "天气好的时候，{a}带着{petname}去院子里玩。",
        "{petname}累了，就在{a}的脚边睡觉。",
    ),
    (
        "{a}非常喜欢{petname}。",
        "{a}和{petname}是好朋友。",
        "大家都说，{petname}是最可爱的{pet}。",
    ),
)
_SEASON = Theme(
    (
        "春天来了，{town}的桃花开了。",
        "春天到了，天气一天比一天暖和。",
        "春风吹绿了小草，也吹开了花。",
    ),
    (
        "小草从地里长出来，柳树也发芽了。",
        "{a}和{b}到田野里放风筝。",
        "{a}在院子里种了一棵小树，{b}帮{a}浇水。",
        "燕子从南方飞回来了，在{a}家的屋檐下做窝。",
    ),
    ("{a}最喜欢春天。", "春天真是个美丽的季节。", "{a}说：“春天真好。”"),
)
_SUMMER = Theme(
    (
        "夏天到了，天气越来越热。",
        "夏天的晚上，{a}一家在院子里乘凉。",
        "放暑假了，{a}去{town}看{elder}。",
    ),
    (
        "池塘里的荷花开了，有红的，也有白的。",
        "{a}和{b}坐在大树下吃西瓜。",
        "{elder}给{a}讲故事，{a}听得入了迷。",
        "{a}抬头看天上的星星，一颗、两颗、三颗，怎么也数不完。",
    ),
    ("{a}最喜欢夏天。", "一阵凉风吹来，{a}觉得舒服多了。", "这个夏天，{a}过得真快乐。"),
)
_AUTUMN = Theme(
    (
        "秋天来了，树叶变黄了。",
        "秋天是收获的季节，{town}的果园里一片忙碌。",
        "中秋节的晚上，月亮又大又圆。",
    ),
    (
        "{a}和{b}去果园摘苹果，摘了满满一篮子。",
        "地上落满了黄叶，{a}捡了几片夹在书里。",
        "田里的稻子熟了，{elder}忙着收割。",
        "{a}把摘来的苹果送给{b}，{b}说苹果又香又甜。",
    ),
    ("{a}最喜欢秋天。", "大家的脸上都带着笑容。", "{a}说：“秋天真是个好季节。”"),
)
_WINTER = Theme(
    (
        "冬天到了，河水结了冰。",
        "冬天的早晨很冷，窗户上结了一层冰花。",
        "下雪了，{town}变成了白色的世界。",
    ),
    (
        "{a}戴上帽子和手套，跑到院子里玩雪。",
        "{a}和{b}堆了一个大雪人，给它戴上{color}的帽子。",
        "{elder}怕{a}冷，给{a}织了一条{color}的围巾。",
        "{a}围着{color}的围巾，一点也不觉得冷。",
    ),
    ("{a}最喜欢冬天。", "屋里生着火，暖和极了。", "{a}盼着快点过年。"),
)
_LETTER = Theme(
    (
        "{b}：你好！我是{a}。",
        "亲爱的{b}：你好！好久不见，我很想你。",
        "{b}，你好！我在{town}给你写信。",
        "{b}：你的信我收到了，谢谢你。",
    ),
    (
        "我现在住在{town}，这里的人都很热情。",
        "昨天我去{place}{act}，玩得很高兴。",
        "随信寄上一张照片，那是我在{town}拍的。",
        "听说你最近在学{hobby}，我也想学。",
        "有空的时候，请到{town}来玩。",
    ),
    (
        "祝你身体健康！你的朋友，{a}。",
        "祝你天天快乐！{a}。",
        "盼望你的回信。{a}。",
    ),
)
_STORY = Theme(
    (
        "从前，{town}有一个孩子叫{a}。",
        "{a}和{b}是邻居，也是好朋友。",
        "很久以前，{town}住着一个叫{a}的{job}。",
        "{a}有一{im}{item}，那是{elder}送的。",
        "前几天，{a}帮了{b}一个大忙。",
        "{a}从小就喜欢{hobby}。",
        "{b}搬到了{town}，{a}去看望{b}。",
    ),
    (
        "一天，{b}丢了{item}，急得不得了。{elder}说：“{b}，别着急，慢慢找。”",
        "{a}帮{b}找{item}，最后在{spot}找到了。{b}连声说：“谢谢你，{a}！”",
        "有一次，{a}生病了，{b}带着{food}去看{a}。{a}说：“谢谢你，{b}。”",
        "{a}把自己的{item}借给{b}，{b}用完就还给了{a}。",
        "{b}要请{a}吃{dish}，{a}笑着说：“不用客气。”",
        "从那以后，{a}每天都和{b}一起{hobby}。",
        "{town}的人都夸{a}是个好孩子。",
    ),
    (
        "{a}和{b}一直是最好的朋友。",
        "{elder}常常对人说起{a}的故事。",
    ),
)
_FAMILY = Theme(
    (
        "{a}家有四口人：爸爸、妈妈、{a}和妹妹。",
        "{a}的爸爸是{job}，妈妈是{job2}。",
        "{a}今年{age}岁，上小学了。",
        "今天是妈妈的生日，{a}想给妈妈一个惊喜。",
        "晚上，{a}一家坐在客厅里聊天。",
        "每到周末，{a}都去看{elder}。",
    ),
    (
        "爸爸喜欢{hobby}，妈妈喜欢{hobby2}，{a}两样都喜欢。",
        "{a}在纸上画了一家人，每个人都笑着。",
        "妈妈给{a}做了{dish}，{a}吃得干干净净。",
        "{a}会自己洗衣服，也会自己叠被子。",
        "{elder}夸{a}懂事，{a}不好意思地笑了。",
        "{a}对妈妈说：“妈妈，您辛苦了。”",
    ),
    (
        "{a}爱自己的家。",
        "一家人过得很幸福。",
        "{a}长大以后想当{job}。",
    ),
)
_HOBBY = Theme(
    (
        "{a}的爱好是{hobby}，{b}的爱好是{hobby2}。",
        "{a}喜欢{hobby}，每个星期天都要{hobby}。",
        "{a}正在跟{elder}学{learn}。",
        "下午，{place}里有很多人，有的{act}，有的聊天，{a}和{b}也在那里。",
        "今天有一场比赛，{a}和{b}都报了名。",
        "{town}要开运动会了，大家都在准备。",
    ),
    (
        "刚开始的时候，{a}总是做不好，但是{a}不怕困难。",
        "{b}对{a}说：“加油，{a}！”",
        "{elder}说：“{a}，只要天天练习，就一定能学会。”",
        "{a}每天练习一个小时，进步很快。",
        "比赛那天，{a}得了第一名，{b}得了第二名。",
    ),
    (
        "{a}的努力没有白费。",
        "{b}为{a}感到高兴。",
        "{a}说：“我会继续努力的。”",
    ),
)
_TRIP = Theme(
    (
        "{a}坐火车去{town}，路上要走三个小时。",
        "火车开了，{a}向妈妈挥手告别。",
        "假期里，{a}去了{town}和{town2}。",
        "一大早，{a}就坐上了去{town}的汽车。",
    ),
    (
        "{a}坐在窗边，看着外面的田野和村庄。",
        "车上，{a}认识了一位{job}，他也要去{town}。",
        "到了{town}，{b}已经在车站等{a}了。",
        "{b}带着{a}逛了{town}的老街，还吃了{dish}。",
        "晚上，{a}给家里打电话，说自己到{town}了。",
    ),
    (
        "{a}在{town}住了三天，才回到家。",
        "{a}把在{town}看到的都写进了日记。",
        "{a}说：“{town}是个好地方，我还要再来。”",
    ),
)

_THEMES = (
    *(_SUNNY, _RAIN, _SCHOOL, _COOKING, _SHOPPING, _WALK, _PET, _SEASON, _SUMMER, _AUTUMN, _WINTER, _LETTER),
    *(_STORY, _FAMILY, _HOBBY, _TRIP),
)
_PET_NAMES = tuple(name for name in words.PET_NAMES if not set(name) & set("黑白黄"))
_DISHES = (
    "面条",
    "饺子",
    "包子",
    "炒饭",
    "鸡蛋面",
    "红烧肉",
    "豆腐汤",
    "烤鱼",
    "土豆丝",
    "炒白菜",
    "年糕",
    "西红柿炒鸡蛋",
)


def _slots(rng: random.Random) -> dict[str, str]:
    """一篇短文里所有空位的值；同一个人、同一件东西从头到尾不变。"""
    a, b = words.child(rng), words.child(rng)
    while b == a:
        b = words.child(rng)
    place = rng.choice(("公园", "操场", "河边", "海边", "山上", "广场", "果园", "动物园"))
    pet, measure = rng.choice((("狗", "条"), ("猫", "只"), ("兔子", "只")))
    item = rng.choice([name for name in words.OBJECT_NAMES if name not in words.FOODS])
    shop = rng.choice(tuple(words.SHOPS))
    good = rng.choice(words.SHOPS[shop])
    town, town2 = rng.sample(words.TOWNS, 2)
    hobby, hobby2 = rng.sample(words.HOBBIES, 2)
    job, job2 = rng.sample(words.JOBS, 2)
    return {
        **{"a": a, "b": b, "elder": rng.choice(words.TITLED_NAMES)},
        **{"place": place, "act": rng.choice(words.ACTIVITIES[place]), "town": town, "town2": town2},
        **{"pet": pet, "measure": measure, "petname": rng.choice(_PET_NAMES), "color": rng.choice(words.COLORS)},
        **{"item": item, "im": words.MEASURES[item], "spot": rng.choice(words.SPOTS)},
        **{"shop": shop, "good": good, "goods": rng.choice(words.COUNT_WORDS[:4]) + words.MEASURES[good] + good},
        **{
            "fur": rng.choice(("白色", "黑色", "灰色", "棕色")),
            "bag": rng.choice(("帽子", "书包", "相机", "地图", "水壶")),
            "learn": rng.choice(("画画", "唱歌", "跳舞", "游泳", "下棋", "吹笛子", "弹钢琴", "打乒乓球", "踢足球")),
            "food": rng.choice(("面包", "苹果", "饼干", "蛋糕", "橙子")),
        },
        **{"tool": rng.choice(("铅笔", "橡皮", "尺子", "钢笔", "词典")), "dish": rng.choice(_DISHES)},
        **{"hobby": hobby, "hobby2": hobby2, "job": job, "job2": job2, "age": rng.choice(("七", "八", "九", "十"))},
    }


def prose(rng: random.Random) -> str:
    """一篇小短文：开头、一到四处细节，多半还有结尾。"""
    theme = rng.choices(_THEMES, weights=[len(theme.openings) for theme in _THEMES])[0]
    chosen = sorted(rng.sample(range(len(theme.middles)), rng.randint(1, min(4, len(theme.middles)))))
    sentences = [rng.choice(theme.openings), *(theme.middles[index] for index in chosen)]
    if rng.random() < 0.7 or theme is _LETTER:
        sentences.append(rng.choice(theme.endings))
    return "".join(sentences).format_map(_slots(rng))
