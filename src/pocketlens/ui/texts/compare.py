"""Compare: models side by side."""

from typing import Final

TEXTS: Final = {
    "compare_title": ("Models side by side", "모델 비교"),
    "compare_intro": (
        "Which models there are, which one answers, and how they did on the same photos.",
        "어떤 모델이 있고 무엇을 사용 중인지, 같은 사진에서 어떤 결과를 냈는지 보여 줍니다.",
    ),
    "models": ("Models", "모델"),
    "model": ("Model", "모델"),
    "model_other": ("Use another model", "다른 모델 사용"),
    "model_choose": ("Choose a model", "모델을 고르세요"),
    "model_state": ("State", "상태"),
    "model_current": ("in use", "사용 중"),
    "model_given": ("given at the start", "처음 모델"),
    "model_offered": ("passed", "통과"),
    "model_rejected": ("rejected", "거절됨"),
    "model_retired": ("retired", "물러남"),
    "models_retired": (
        "Retired models stay in the list for a year. Their files are deleted, so they can't be "
        "used again.",
        "물러난 모델은 1년 동안 목록에 남지만 파일이 삭제되어 다시 사용할 수 없습니다.",
    ),
    "made": ("Made", "만든 때"),
    "runtime": ("Runtime", "실행 환경"),
    "size": ("Size", "크기"),
    "classes": ("Classes", "종류 수"),
    "score": ("Score", "점수"),
    "comparisons": ("Comparisons", "비교표"),
    "comparison": ("Comparison", "비교표"),
    "comparison_none": (
        "There is no comparison yet; each training makes one.",
        "아직 비교표가 없습니다. 학습할 때마다 하나씩 만들어집니다.",
    ),
    "comparison_gone": (
        "This comparison was deleted together with its model. Choose another one.",
        "이 비교표는 모델과 함께 삭제되었습니다. 다른 비교표를 고르세요.",
    ),
    "drop": ("Lost points (95 % interval)", "점수 하락(95 % 구간)"),
    "latency": ("Time a photo", "사진당 시간"),
    "verdict": ("Verdict", "판정"),
    "verdict_best": ("best", "최고"),
    "verdict_ok": ("passes", "통과"),
    "verdict_slower": ("slower", "느림"),
    "verdict_less_accurate": ("less accurate", "정확도 낮음"),
    "verdict_too_large": ("too large", "너무 큼"),
    "verdict_mismatch": ("answers differ", "답이 다름"),
    "verdict_failed": ("failed", "실패"),
    "verdict_skipped": ("skipped", "건너뜀"),
    "verdict_reference": ("reference", "기준"),
    "ratios": (
        "“So many times as long” is a ratio of times measured in turns in the same rounds, so that "
        "a busy machine disturbs both alike; it can differ from the quotient of two medians.",
        "'몇 배'는 같은 회차에서 번갈아 잰 시간의 비율입니다. 컴퓨터가 바쁠 때의 영향을 양쪽이 "
        "똑같이 받게 하려는 것으로, 두 중앙값을 나눈 값과 다를 수 있습니다.",
    ),
    "pareto_alt": (
        "Picture: score of each model against its time a photo; the table says the same in figures",
        "그림: 모델별 점수와 사진당 시간. 같은 내용이 표에 숫자로 있습니다",
    ),
    "report": ("Download the whole report", "전체 보고서 내려받기"),
    "report_get": ("Get the whole report", "전체 보고서 준비"),
}
