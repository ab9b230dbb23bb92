"""Why the gate passed a model or not, what data still lacks, and hints of an answer."""

from typing import Final

TEXTS: Final = {
    "gate_other_task": (
        "It is made for {task}, today's model for {current}.",
        "새 모델은 {task}용이고 현재 모델은 {current}용입니다.",
    ),
    "task_single_label": ("photos with one label each", "이름표가 하나씩인 사진"),
    "task_multi_label": ("photos with any number of labels", "이름표가 여러 개일 수 있는 사진"),
    "gate_classes_missing": (
        "It doesn't know {num} of the {of} classes of today's model, such as: {classes}. Add "
        "photos of them.",
        "현재 모델이 아는 종류 {of}개 중 {num}개를 모릅니다. 예: {classes}. 해당 사진을 추가하세요.",
    ),
    "gate_too_few_test_photos": (
        "Photos that can test both models: {num}. At least {needed} are needed to tell whether "
        "the new one is as good; add photos of the classes that are known.",
        "두 모델을 함께 시험할 수 있는 사진이 {num}장입니다. 비교하려면 적어도 {needed}장이 "
        "필요합니다. 이미 아는 종류의 사진을 추가하세요.",
    ),
    "gate_loses_on_validation": (
        "It loses {points} points on validation photos; {limit} are allowed.",
        "검증 사진에서 {points}점 떨어졌습니다. 허용 한도는 {limit}점입니다.",
    ),
    "gate_loses_points": (
        "It loses {points} points; {limit} are allowed.",
        "{points}점 떨어졌습니다. 허용 한도는 {limit}점입니다.",
    ),
    "gate_loses_at_least": (
        "It loses at least {points} points on test photos (95 %); {limit} are allowed.",
        "시험 사진에서 적어도 {points}점 떨어졌습니다(95 %). 허용 한도는 {limit}점입니다.",
    ),
    "gate_slower_than_limit": (
        "It takes {latency_ms} ms a photo; {limit_ms} ms are allowed.",
        "사진 한 장에 {latency_ms} ms가 걸립니다. 허용 한도는 {limit_ms} ms입니다.",
    ),
    "gate_slower_than_current": (
        "It takes {times} times as long as today's model.",
        "현재 모델보다 {times}배 오래 걸립니다.",
    ),
    "gate_not_judged": (
        "It couldn't be judged: {detail}.",
        "판정할 수 없었습니다: {detail}.",
    ),
    "gate_scores": (
        "{metric}: {score} %, today's model {score_current} %, on the same {num_test} test photos.",
        "{metric}: 새 모델 {score} %, 현재 모델 {score_current} %. 같은 시험 사진 {num_test}장 기준입니다.",
    ),
    "gate_validation_scores": (
        "On validation photos: {metric} {score} %, today's model {score_current} %.",
        "검증 사진 기준 {metric}: 새 모델 {score} %, 현재 모델 {score_current} %.",
    ),
    "gate_loss_within_limit": (
        "A loss is surely within the limit of {limit} points.",
        "점수가 떨어져도 한도 {limit}점 안이라는 것이 확실합니다.",
    ),
    "gate_loss_not_excluded": (
        "So few photos can't exclude a loss of up to {points} points.",
        "사진이 적어서 최대 {points}점까지 떨어질 가능성을 배제할 수 없습니다.",
    ),
    "gate_more_classes": (
        "Classes that it knows beside those of today's model: {num}.",
        "현재 모델보다 더 아는 종류: {num}개.",
    ),
    "metric_accuracy": ("Accuracy", "정확도"),
    "metric_macro_f1": ("Macro F1", "매크로 F1"),
    "metric_map": ("Mean average precision", "평균 정밀도(mAP)"),
    "hint_box_expected": (
        "This model has learnt from things cut out of photos. For a surer answer open “Only a part "
        "of the photo” and draw a frame around the thing.",
        "이 모델은 사진에서 잘라 낸 부분으로 학습했습니다. 더 정확한 답을 원하면 '사진의 일부만 보기'를 "
        "열고 대상에 테두리를 맞추세요.",
    ),
    "missing_no_photo": ("There are no photos.", "사진이 없습니다."),
    "missing_one_class": (
        "Photos of a second class: one class can't be told from nothing.",
        "두 번째 종류의 사진이 필요합니다. 한 종류만으로는 구별을 배울 수 없습니다.",
    ),
    "missing_few_photos": (
        "Each class needs at least {needed} different photos: to learn from, to choose by and to "
        "test with. Classes that have fewer: {num} ({classes}).",
        "종류마다 서로 다른 사진이 적어도 {needed}장(학습, 검증, 시험) 필요합니다. "
        "부족한 종류: {num}개({classes}).",
    ),
    "missing_cannot_split": (
        "There are too few photos to set some aside for testing.",
        "시험용으로 남겨 둘 사진이 부족합니다.",
    ),
}
