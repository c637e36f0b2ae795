"""Starts the node, configures it and activates it.

ros2 launch glesam_ros glesam.launch.py bundle:=/path/to/bundle
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition

DEFAULT_PARAMETERS = PathJoinSubstitution([FindPackageShare("glesam_ros"), "config", "glesam.yaml"])

ARGUMENTS = [
    DeclareLaunchArgument("bundle", description="folder of the bundle that glesam-export wrote"),
    DeclareLaunchArgument("params_file", default_value=DEFAULT_PARAMETERS, description="parameters, as YAML"),
    DeclareLaunchArgument("image", default_value="/camera/image_raw", description="the camera's topic"),
    DeclareLaunchArgument("prompts", default_value="/detections", description="Detection2DArray with boxes"),
    DeclareLaunchArgument("namespace", default_value="", description="the node's namespace"),
    DeclareLaunchArgument("autostart", default_value="true", description="configure and activate at once"),
]


def segmentation_node() -> LifecycleNode:
    return LifecycleNode(
        package="glesam_ros",
        executable="segmentation_node",
        name="glesam",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), {"bundle": LaunchConfiguration("bundle")}],
        remappings=[("~/image", LaunchConfiguration("image")), ("~/prompts", LaunchConfiguration("prompts"))],
        output="screen",
    )


def change_state(node: LifecycleNode, transition: int) -> EmitEvent:
    change = ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
    return EmitEvent(event=change, condition=IfCondition(LaunchConfiguration("autostart")))


def generate_launch_description() -> LaunchDescription:
    node = segmentation_node()
    configured = OnStateTransition(
        target_lifecycle_node=node,
        start_state="configuring",
        goal_state="inactive",
        entities=[change_state(node, Transition.TRANSITION_ACTIVATE)],
    )
    # The handler stands before the transition that it waits for.
    return LaunchDescription(
        [
            *ARGUMENTS,
            node,
            RegisterEventHandler(configured),
            change_state(node, Transition.TRANSITION_CONFIGURE),
        ]
    )
