"""What the paper reports: Tables 2, 3 and 4 of Matsui, Yamashita and Fujiyoshi, VISAPP 2019.

All numbers are percent, measured on 19,962 pictures of CelebA after training on 162,770. The rows of FaceTracer, PANDA and
LNets+ANet are those of Liu et al. (ICCV 2015), which the paper quotes.
"""

SOURCE = "Matsui et al., VISAPP 2019"
DATA_SETS = ("celeba", "synthetic")  # whose tables the numbers stand in: the paper's, and the one that is drawn in its format
BASELINE = "hard sharing (baseline)"
CONCAT, CHANNELWISE, FINE_TUNED = "SMTN concat", "SMTN channelwise", "SMTN channelwise, fine-tuned"

# Success rate of left eye, right eye, nose, left and right mouth corner; their average.
TABLE_2 = {
    BASELINE: (96.3, 96.5, 54.0, 92.0, 91.9, 86.1),
    CONCAT: (97.7, 98.0, 87.5, 94.9, 94.7, 94.6),
    CHANNELWISE: (96.9, 97.0, 82.2, 93.1, 93.0, 92.4),
    FINE_TUNED: (96.1, 96.0, 50.6, 85.4, 85.1, 82.6),
}

# Accuracy of the forty attributes in CelebA's order, from 5_o_Clock_Shadow to Male and from Mouth_Slightly_Open to Young; the
# average.
TABLE_3 = {
    "FaceTracer": (
        *(85, 76, 78, 76, 89, 88, 64, 74, 70, 80, 81, 60, 80, 86, 88, 98, 93, 90, 85, 84, 91),
        *(87, 91, 82, 90, 64, 83, 68, 76, 84, 94, 89, 63, 73, 73, 89, 89, 68, 86, 80, 81),
    ),
    "PANDA-w": (
        *(82, 73, 77, 71, 92, 89, 61, 70, 74, 81, 77, 69, 76, 82, 85, 94, 86, 88, 84, 80, 93),
        *(82, 83, 79, 87, 62, 84, 65, 82, 81, 90, 89, 67, 76, 72, 91, 88, 67, 88, 77, 79),
    ),
    "PANDA-l": (
        *(88, 78, 81, 79, 96, 92, 67, 75, 85, 93, 86, 77, 86, 86, 88, 98, 93, 94, 90, 86, 97),
        *(93, 93, 84, 93, 65, 91, 71, 85, 87, 93, 92, 69, 77, 78, 96, 93, 67, 91, 84, 85),
    ),
    "LNets+ANet": (
        *(91, 79, 81, 79, 98, 95, 68, 78, 88, 95, 84, 80, 90, 91, 92, 99, 95, 97, 90, 87, 98),
        *(92, 95, 81, 95, 66, 91, 72, 89, 90, 96, 92, 73, 80, 82, 99, 93, 71, 93, 87, 87),
    ),
    BASELINE: (
        *(93, 81, 80, 83, 98, 95, 69, 82, 85, 94, 95, 85, 91, 95, 96, 99, 97, 97, 89, 86, 97),
        *(93, 96, 86, 95, 71, 96, 74, 92, 94, 97, 91, 80, 79, 88, 98, 93, 85, 95, 86, 89),
    ),
    CONCAT: (
        *(93, 81, 80, 83, 98, 95, 69, 82, 85, 94, 95, 84, 91, 95, 96, 99, 97, 97, 89, 85, 97),
        *(92, 96, 86, 95, 71, 96, 74, 92, 94, 97, 91, 79, 78, 87, 98, 93, 84, 95, 86, 89),
    ),
    CHANNELWISE: (
        *(93, 80, 79, 82, 98, 95, 69, 81, 85, 94, 95, 85, 91, 95, 95, 99, 96, 97, 89, 85, 97),
        *(92, 96, 86, 95, 70, 96, 74, 91, 94, 97, 91, 79, 78, 87, 98, 92, 84, 95, 85, 89),
    ),
    FINE_TUNED: (
        *(93, 81, 80, 83, 98, 95, 70, 83, 85, 94, 95, 86, 91, 95, 96, 99, 97, 98, 90, 85, 97),
        *(93, 96, 86, 95, 72, 96, 75, 92, 94, 97, 91, 80, 79, 88, 98, 93, 85, 95, 86, 90),
    ),
}

# By branch point: average success rate of the landmarks, average accuracy of the attributes.
TABLE_4 = {
    "hard_sharing": {"conv1_2": (92.9, 89.9), "conv2_2": (95.5, 89.8), "conv3_3": (95.2, 89.9)},
    "separation": {"conv1_2": (80.4, 88.8), "conv2_2": (79.5, 88.8), "conv3_3": (78.8, 88.8)},
}
