"""Train: a new model from a data set, and which model answers."""

from typing import Final

TEXTS: Final = {
    "train_title": ("Train a new model", "새 모델 학습하기"),
    "train_intro": (
        "A new model learns from a data set. It is offered only if it is not worse than today's "
        "on photos that neither has learnt from.",
        "데이터로 새 모델을 학습합니다. 두 모델 모두 본 적 없는 사진에서 현재 모델보다 나쁘지 않을 "
        "때만 제안합니다.",
    ),
    "train_none": (
        "There is no data set yet. Add photos under Teach first.",
        "아직 데이터가 없습니다. 먼저 '가르치기'에서 사진을 추가하세요.",
    ),
    "epochs": ("Rounds over the photos (epochs)", "반복 횟수(에포크)"),
    "train_more": ("More settings", "추가 설정"),
    "image_size": (
        "Image size in pixels; 0: as the network likes it",
        "이미지 크기(픽셀), 0: 기본값",
    ),
    "network": ("Network; empty: as today's", "신경망, 비워 두면 현재와 같음"),
    "max_drop": ("Points it may lose at most", "허용하는 점수 하락(점)"),
    "shrink": ("Make it small afterwards", "학습 후 작게 만들기"),
    "train_go": ("Start training", "학습 시작"),
    "train_working": ("Learning from {dataset}", "{dataset} 학습 중"),
    "train_working_other": ("Learning", "학습 중"),
    "step_reading": ("Fetching the photos", "사진 가져오기"),
    "step_training": ("Training", "학습"),
    "step_finishing": ("Scoring and saving the new model", "새 모델 평가와 저장"),
    "step_shrinking": ("Making it small", "작게 만들기"),
    "step_comparing": ("Comparing with today's model", "현재 모델과 비교"),
    "epoch_of": ("round {epoch} of {epochs}", "{epochs}회 중 {epoch}회"),
    "score_now": ("score {score}", "점수 {score}"),
    "minutes_left": ("about {minutes} min left", "약 {minutes}분 남음"),
    "seconds_left": ("about {seconds} s left", "약 {seconds}초 남음"),
    "trainings": ("Trainings", "학습 기록"),
    "train_failed": ("The training ended without a model.", "학습이 모델 없이 끝났습니다."),
    "train_offered": (
        "The new model passed. It answers as soon as it is promoted.",
        "새 모델이 심사를 통과했습니다. 적용하면 바로 사용됩니다.",
    ),
    "train_promoted": (
        "The new model passed and answers now.",
        "새 모델이 통과하여 사용 중입니다.",
    ),
    "train_retired": (
        "The new model passed, and was retired since: its files are deleted. Train again to have "
        "one.",
        "새 모델이 심사를 통과했지만 그 뒤에 물러나 파일이 삭제되었습니다. 필요하면 다시 학습하세요.",
    ),
    "train_rejected": (
        "The new model was rejected; today's goes on answering.",
        "새 모델은 거절되었습니다. 현재 모델을 계속 사용합니다.",
    ),
    "why": ("Reason given by the service", "서비스가 밝힌 이유"),
    "scores": ("Scores", "점수"),
    "promote": ("Use this model", "이 모델 사용"),
    "promote_sure": (
        "From now on everybody is answered by this model. Really?",
        "이제부터 모두가 이 모델의 답을 받습니다. 진행할까요?",
    ),
    "promoted": ("This model answers now: {model}", "이제 이 모델을 사용합니다: {model}"),
    "roll_back": ("Go back to this model", "이 모델로 되돌리기"),
    "now_current": ("Now in use: model {model}", "현재 사용 중: 모델 {model}"),
    "code_not_operator": ("Only an operator may do that.", "운영자만 할 수 있는 일입니다."),
    "code_classes_missing": (
        "The data set lacks classes that today's model knows. Add photos of each.",
        "현재 모델이 아는 종류 중 데이터에 없는 것이 있습니다. 각각의 사진을 추가하세요.",
    ),
    "code_cannot_be_opened": (
        "This model can't be opened on the service's machine.",
        "서비스 컴퓨터에서 이 모델을 열 수 없습니다.",
    ),
    "code_training_unavailable": (
        "This service isn't set up for training.",
        "이 서비스에는 학습 기능이 설치되어 있지 않습니다.",
    ),
    "code_no_model": (
        "There is no model yet that a new one could be compared with.",
        "새 모델과 비교할 모델이 아직 없습니다.",
    ),
    "code_data_not_ready": (
        "The data set isn't ready to be learnt from. Check it under Teach.",
        "데이터가 아직 준비되지 않았습니다. '가르치기'에서 확인하세요.",
    ),
    "code_no_labelled_photo": (
        "The data set has no labelled photo.",
        "데이터에 이름표가 붙은 사진이 없습니다.",
    ),
    "code_dataset_not_found": ("There is no such data set.", "그런 데이터가 없습니다."),
}
