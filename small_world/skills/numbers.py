"""数：加减、比较、相邻数、两倍和一半、单双、数位、汉字写法、排序、数数。"""

import random

from small_world.skills import wordlists as words
from small_world.skills.reading import Scene, SceneSkill, Task


def numeral(number: int) -> str:
    """0 到 100 的汉字写法，如 12 → 十二。"""
    if number <= 10:
        return words.DIGIT_WORDS[number]
    if number == 100:
        return "一百"
    tens, ones = divmod(number, 10)
    return ("" if tens == 1 else words.DIGIT_WORDS[tens]) + "十" + (words.DIGIT_WORDS[ones] if ones else "")


# ---- 加减：一组三个数的加法和减法算同一份内容 ----


def _calculation(first: int, operation: str, second: int, result: int) -> Task:
    sign = {"加": "+", "减": "-"}[operation]
    formula = f"{first}{operation}{second}"
    return Task(
        (
            f"{formula}等于几？",
            f"{formula}等于多少？",
            f"请问{formula}是多少？",
            f"{first}{sign}{second}=？",
            f"算一算：{formula}。",
            f"{formula}得几？",
        ),
        f"{formula}等于{result}。",
        str(result),
        f"{formula}的得数",
        f"那{formula}呢？",
    )


def _add(rng: random.Random) -> Scene:
    low, high = sorted((rng.randint(0, 10), rng.randint(0, 10)))
    total = low + high
    pairs = dict.fromkeys(((low, high), (high, low)))
    tasks = (
        *(_calculation(first, "加", second, total) for first, second in pairs),
        *(_calculation(total, "减", first, second) for first, second in pairs),
    )
    first, second = rng.choice(tuple(pairs))
    who, item = words.person(rng), rng.choice(words.OBJECT_NAMES)
    measure = words.MEASURES[item]
    stories = (
        f"{who}原来有{first}{measure}{item}，又得到{second}{measure}，{first}加{second}等于{total}，"
        f"现在一共有{total}{measure}{item}。",
        f"{who}原来有{total}{measure}{item}，送出去{first}{measure}，{total}减{first}等于{second}，"
        f"还有{second}{measure}{item}。",
    )
    return Scene(
        f"{low}+{high}",
        tasks,
        (
            f"{first}加{second}等于{total}。",
            f"{total}减{first}等于{second}。",
            f"{first}加{second}等于{total}。{second}加{first}也等于{total}。",
            f"{total}减{first}等于{second}。{total}减{second}等于{first}。",
            f"因为{first}加{second}等于{total}，所以{total}减{first}等于{second}。",
            f"{first}+{second}={total}，{total}-{second}={first}。",
            f"{first}和{second}合起来是{total}。",
            stories[0],
            stories[1],
            "，".join(f"{first}加{number}等于{first + number}" for number in range(11)) + "。",
            "，".join(f"{number}加{second}等于{number + second}" for number in range(11)) + "。",
        ),
        tuple((f"{first}加{second}等于", str(total)) for first, second in pairs),
    )


# ---- 比较、排序 ----


def _compare(rng: random.Random) -> Scene:
    low, high = sorted(rng.sample(range(100), 2))
    shown = f"{low}和{high}" if rng.random() < 0.5 else f"{high}和{low}"
    tasks = tuple(
        Task(
            (
                f"{shown}哪个{word}？",
                f"{shown}比，哪个{word}一些？",
                f"请问{shown}哪个数更{word}？",
                f"{shown}，{word}的数是哪个？",
            ),
            f"{winner}比{loser}{word}。",
            str(winner),
            f"{shown}里较{word}的数",
        )
        for word, winner, loser in (("大", high, low), ("小", low, high))
    )
    return Scene(
        f"{low}和{high}",
        tasks,
        (
            f"{high}比{low}大，{low}比{high}小。",
            f"{shown}，{high}比{low}大。",
            f"{shown}，{low}比{high}小。",
            f"{shown}这两个数，大的是{high}，小的是{low}。",
            f"从{low}往后数，会数到{high}，所以{high}比{low}大。",
        ),
    )


def _sort(rng: random.Random) -> Scene:
    numbers = rng.sample(range(1, 21), 3)
    text = "、".join(map(str, numbers))
    rising = "、".join(map(str, sorted(numbers)))
    falling = "、".join(map(str, sorted(numbers, reverse=True)))
    tasks = tuple(
        Task(
            (
                f"把{text}{order}排列。",
                f"请把{text}{order}排好。",
                f"{text}，{order}怎么排？",
                f"给{text}排个队，{order}。",
            ),
            f"{order}是{result}。",
            result,
        )
        for order, result in (("从小到大", rising), ("从大到小", falling))
    )
    return Scene(
        rising,
        tasks,
        (
            f"{text}，从小到大是{rising}。",
            f"{text}，从大到小是{falling}。",
            f"{text}这三个数，最小的是{min(numbers)}，最大的是{max(numbers)}，从小到大是{rising}。",
            f"{rising}，倒过来是{falling}。",
        ),
    )


# ---- 相邻数、数数 ----


def _neighbours(rng: random.Random) -> Scene:
    number = rng.randrange(100)
    following = number + 1
    tasks = tuple(
        Task(
            (
                f"{asked}{side}的一个数是几？",
                f"{asked}{side}那个数是多少？",
                f"请问{asked}{side}是哪个数？",
                f"数数的时候，{asked}{side}是几？",
            ),
            f"{asked}{side}的一个数是{answer}。",
            str(answer),
            f"{asked}{side}的一个数",
            f"那{asked}{side}呢？",
        )
        for asked, side, answer in ((number, "后面", following), (following, "前面", number))
    )
    start = max(0, number - rng.randint(1, 5))
    return Scene(
        f"{number}和{following}",
        tasks,
        (
            f"{number}后面的一个数是{following}。",
            f"{following}前面的一个数是{number}。",
            f"{number}后面的一个数是{following}，{following}前面的一个数是{number}。",
            f"数完{number}，接着数{following}。",
            f"{number}比{following}小1，{following}比{number}大1。",
            f"从{start}数到{following}：" + "、".join(map(str, range(start, following + 1))) + "。",
        ),
        tuple((f"{task.topic}是", task.short or "") for task in tasks),
    )


def _count(rng: random.Random) -> Scene:
    start = rng.randint(0, 40)
    end = start + rng.randint(2, 5)
    rising = "、".join(map(str, range(start, end + 1)))
    falling = "、".join(map(str, range(end, start - 1, -1)))
    tasks = (
        Task(
            (
                f"从{start}数到{end}。",
                f"请从{start}数到{end}。",
                f"从{start}到{end}怎么数？",
                f"数一数，从{start}到{end}。",
            ),
            f"{rising}。",
        ),
        Task(
            (f"从{end}倒数到{start}。", f"请从{end}倒着数到{start}。", f"从{end}到{start}怎么倒数？"),
            f"{falling}。",
        ),
    )
    return Scene(
        f"{start}到{end}",
        tasks,
        (
            f"从{start}数到{end}：{rising}。",
            f"从{end}倒数到{start}：{falling}。",
            f"正着数：{rising}。倒着数：{falling}。",
            f"{words.person(rng)}从{start}数到{end}：{rising}。",
        ),
    )


# ---- 两倍和一半、单双、数位、汉字写法 ----


def _double(rng: random.Random) -> Scene:
    half = rng.randint(1, 30)
    whole = 2 * half
    tasks = tuple(
        Task(
            (
                f"{asked}的{relation}是多少？",
                f"{asked}的{relation}是几？",
                f"请问{asked}的{relation}等于几？",
                f"算一算{asked}的{relation}。",
            ),
            f"{asked}的{relation}是{answer}。",
            str(answer),
            f"{asked}的{relation}",
            f"那{asked}的{relation}呢？",
        )
        for asked, relation, answer in ((half, "两倍", whole), (whole, "一半", half))
    )
    return Scene(
        f"{half}和{whole}",
        tasks,
        (
            f"{half}的两倍是{whole}。",
            f"{whole}的一半是{half}。",
            f"{half}的两倍是{whole}，{whole}的一半是{half}。",
            f"两个{half}加起来是{whole}，所以{half}的两倍是{whole}。",
            f"把{whole}平均分成两份，每份是{half}，所以{whole}的一半是{half}。",
        ),
        ((f"{half}的两倍是", str(whole)), (f"{whole}的一半是", str(half))),
    )


def _parity(rng: random.Random) -> Scene:
    number = rng.randrange(100)
    kind, other = ("奇数", "偶数") if number % 2 else ("偶数", "奇数")
    task = Task(
        (
            f"{number}是奇数还是偶数？",
            f"请问{number}是偶数还是奇数？",
            f"判断{number}是奇数还是偶数。",
            f"{number}这个数是奇数还是偶数？",
        ),
        f"{number}是{kind}。",
        kind,
        f"{number}的奇偶",
        f"那{number}呢？",
    )
    return Scene(
        str(number),
        (task,),
        (
            f"{number}是{kind}。",
            f"{number}是{kind}，不是{other}。",
            f"{number}的末位是{number % 10}，所以{number}是{kind}。",
            f"{number}是{kind}，{number + 1}是{other}。",
            f"{number}、{number + 2}、{number + 4}，它们都是{kind}。",
        ),
        ((f"{number}是", kind),),
    )


def _places(rng: random.Random) -> Scene:
    number = rng.randint(10, 99)
    tens, ones = divmod(number, 10)
    tasks = tuple(
        Task(
            (
                f"{number}的{place}是几？",
                f"{number}的{place}上是几？",
                f"请问{number}的{place}数字是多少？",
                f"写出{number}的{place}数字。",
            ),
            f"{number}的{place}是{digit}。",
            str(digit),
            f"{number}的{place}",
            f"那{number}的{place}呢？",
        )
        for place, digit in (("十位", tens), ("个位", ones))
    )
    return Scene(
        str(number),
        tasks,
        (
            f"{number}的十位是{tens}，个位是{ones}。",
            f"{number}的十位是{tens}。",
            f"{number}的个位是{ones}。",
            f"十位是{tens}，个位是{ones}，这个数是{number}。",
        ),
        tuple((f"{task.topic}是", task.short or "") for task in tasks),
    )


def _numeral(rng: random.Random) -> Scene:
    number = rng.randint(0, 100)
    written = numeral(number)
    tasks = tuple(
        Task(
            (
                f"{asked}写成{form}是什么？",
                f"请把{asked}写成{form}。",
                f"{asked}用{form}怎么写？",
                f"怎么用{form}写{asked}？",
            ),
            f"{asked}写成{form}是{answer}。",
            answer,
            f"{asked}的{form}写法",
            f"那{asked}呢？",
        )
        for asked, form, answer in ((str(number), "汉字", written), (written, "数字", str(number)))
    )
    return Scene(
        str(number),
        tasks,
        (
            f"{number}写成汉字是{written}。",
            f"{written}写成数字是{number}。",
            f"{number}读作{written}。",
            f"汉字：{written}；数字：{number}。",
            f"{number}写成汉字是{written}，{written}写成数字是{number}。",
        ),
        ((f"{number}写成汉字是", written), (f"{written}写成数字是", str(number))),
    )


SKILLS = (
    SceneSkill("加减", _add, 66),
    SceneSkill("比较", _compare),
    SceneSkill("排序", _sort, 300),
    SceneSkill("相邻数", _neighbours, 100),
    SceneSkill("数数", _count, 164),
    SceneSkill("两倍一半", _double, 30),
    SceneSkill("奇偶", _parity, 100),
    SceneSkill("数位", _places, 90),
    SceneSkill("汉字数", _numeral, 101),
)
